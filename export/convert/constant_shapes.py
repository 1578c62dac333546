# ruff: noqa: TID253
"""Fold what a graph computes about its own shapes: the converter computes sizes at each run that are always the same.

A convnet's ``Flatten`` becomes ``Shape``, ``Gather``, ``Cast``, ``Slice``, ``Concat`` and ``Cast``, only to say "as
many rows as there are, and 576 columns". On a GPU such operators run on the CPU, which then waits for the GPU.

Here sizes are followed through the graph as numbers or as names of free axes. What comes out as numbers becomes a
constant, and the shape of a ``Reshape`` with one free axis becomes a constant with a 0 (as in the input) or a -1 (what
is left).

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

#: Sizes are vectors of a few numbers; larger constants are weights.
_LARGEST = 64
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),  # ONNX rounds towards 0
    "Max": max,
    "Min": min,
}

#: By tensor: an array of objects, of which each is a number, or the name of a free axis.
_Values = dict[str, np.ndarray]


def fold_shapes(proto: onnx.ModelProto) -> None:
    """Replace computed sizes of a model by constants, in place, where they are the same for all inputs."""
    while _fold_once(proto):  # a slice whose ends are known gives the sizes behind it
        pass


def _fold_once(proto: onnx.ModelProto) -> bool:
    graph = proto.graph
    shapes, kinds = _inferred(proto)
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type in _INTEGERS and np.prod(tensor.dims, dtype=int) <= _LARGEST
    }
    values: _Values = {name: array.astype(object) for name, array in constants.items()}
    outputs = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    changed = False
    for node in graph.node:
        found = _value(node, values, shapes)
        name = node.output[0] if node.output else ""
        if found is not None:
            values[name] = found
            if (
                name not in outputs
                and kinds.get(name) in _INTEGERS
                and all(isinstance(size, int) for size in found.flat)
            ):
                dtype = np.int32 if kinds[name] == onnx.TensorProto.INT32 else np.int64
                graph.initializer.append(numpy_helper.from_array(found.astype(dtype), name))
                changed = True
                continue
        if node.op_type == "Reshape" and node.input[1] in values and node.input[1] not in constants:
            wanted = _reshape_sizes(values[node.input[1]], shapes.get(node.input[0]))
            if wanted is not None:
                node.input[1] = f"{node.output[0]}/sizes"
                graph.initializer.append(numpy_helper.from_array(np.array(wanted, np.int64), node.input[1]))
                changed = True
        kept.append(node)
    if changed:
        del graph.node[:]
        graph.node.extend(kept)
        _drop_unused(graph)
    return changed


def _inferred(proto: onnx.ModelProto) -> tuple[dict[str, list[int | str | None]], dict[str, int]]:
    """The shapes and the element types of all tensors, as far as they follow from the inputs."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]  # the converter's own names of free axes may mean different sizes
    graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    shapes: dict[str, list[int | str | None]] = {}
    kinds: dict[str, int] = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        kinds[value.name] = tensor.elem_type
        if tensor.HasField("shape"):
            shapes[value.name] = [
                axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in tensor.shape.dim
            ]
    return shapes, kinds


def _value(node: onnx.NodeProto, values: _Values, shapes: dict[str, list[int | str | None]]) -> np.ndarray | None:
    """What a node gives, if it computes with sizes; None if that is not known."""
    if len(node.output) != 1 or (node.op_type != "Shape" and not all(name in values for name in node.input if name)):
        return None
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    try:
        return _computed(node, [values.get(name) for name in node.input], attributes, shapes)
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        return None


def _computed(
    node: onnx.NodeProto, given: list[Any], attributes: dict[str, Any], shapes: dict[str, list[int | str | None]]
) -> np.ndarray | None:
    kind = node.op_type
    if kind == "Shape":
        sizes = shapes.get(node.input[0])
        if sizes is None or None in sizes:
            return None
        return np.array(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))], object)
    if not given:
        return None
    if kind == "Identity" or (kind == "Cast" and attributes["to"] in _INTEGERS):
        return np.asarray(given[0])
    if kind == "Gather":
        return np.asarray(np.take(given[0], given[1].astype(int), axis=attributes.get("axis", 0)), object)
    if kind == "Concat":
        return np.asarray(np.concatenate(given, axis=attributes["axis"]), object)
    if kind == "Unsqueeze":
        return np.expand_dims(given[0], tuple(given[1].astype(int).tolist()))
    if kind == "Squeeze":
        axes = tuple(given[1].astype(int).tolist()) if len(given) > 1 and given[1] is not None else None
        return np.asarray(np.squeeze(given[0], axes), object)
    if kind == "Slice" and given[0].ndim == 1:
        starts, ends = (int(side.item()) for side in given[1:3])
        step = int(given[4].item()) if len(given) > 4 and given[4] is not None else 1
        return np.asarray(given[0][starts:ends:step], object)
    if kind in _ARITHMETIC and len(given) == 2 and all(isinstance(size, int) for side in given for size in side.flat):
        left, right = np.broadcast_arrays(*given)
        computed = [_ARITHMETIC[kind](int(a), int(b)) for a, b in zip(left.flat, right.flat, strict=True)]
        return np.array(computed, object).reshape(left.shape)
    return None


def _reshape_sizes(sizes: np.ndarray, given: list[int | str | None] | None) -> list[int] | None:
    """The sizes that a ``Reshape`` of a tensor of the shape ``given`` takes as a constant; None if there are none."""
    wanted: list[int] = []
    for place, size in enumerate(sizes.tolist()):
        if isinstance(size, int):
            if size == 0:
                return None
            wanted.append(size)
        elif given is not None and place < len(given) and given[place] == size:
            wanted.append(0)
        else:
            wanted.append(-1)
    return wanted if wanted.count(-1) <= 1 else None


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants that nothing reads any more."""
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in used for name in node.output):
            kept.append(node)
            used.update(_read_by(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those included that its inner graphs take from outside."""
    yield from node.input
    for attribute in node.attribute:
        for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            yield from (value.name for value in inner.output)
            for one in inner.node:
                yield from _read_by(one)

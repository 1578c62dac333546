# ruff: noqa: TID253
"""Convert one signature of a SavedModel to an ONNX model with the names that the graph declares.

Source: tf2onnx's ``from_function``, which keeps the names of tensors and turns LSTM loops into one ``LSTM`` operator.
Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx.convert
from tf2onnx.constants import ENV_TF2ONNX_CATCH_ERRORS

from bookserve import __version__
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from export.convert.constant_shapes import fold_shapes
from export.convert.operators import operator_handlers
from export.gradients.operators import gradient_handlers
from export.recurrent.fuse import fuse_recurrent_loops
from export.sources.saved_model import SavedModel
from export.without_logging import without_logging

#: The newest operator set that tf2onnx writes.
OPSET = 18
#: The names of inputs and outputs while they are converted: the names of columns are not always names of TensorFlow.
_INPUT, _OUTPUT = "input_{}", "output_{}"
#: What differs in the converter's names from one conversion to the next.
_NUMBERS = re.compile(r"__[0-9]+|_[0-9a-f]{16}\b")


def to_onnx(saved: SavedModel, name: str, graph: Graph) -> onnx.ModelProto:
    """Convert the signature ``name`` to ONNX. The result is checked by ONNX's checker, but was not run yet.

    Raises:
        Failed: the signature has operators without an ONNX form, or the converter failed.
    """
    if shared := sorted(graph.inputs.keys() & graph.outputs.keys()):
        raise Failed(f"'{shared[0]}' is the name of both an input and an output, which ONNX does not allow")
    try:
        proto = _convert(saved, name, graph)
    except Exception as error:  # the converter raises errors of many types
        raise Failed(f"tf2onnx could not convert it: {_last_line(error)}") from error
    if unknown := next(_unknown_operators(proto.graph), ""):
        raise Failed(f"ONNX has no form of the operator '{unknown}'")
    _restore_declared_names(proto, name, graph)
    _correct_groups(proto)
    proto = fuse_recurrent_loops(proto)
    fold_shapes(proto)
    _renumber(proto, {*graph.inputs, *graph.outputs})
    try:
        _check(proto)
    except Exception as error:  # checker and shape inference have unrelated error classes
        raise Failed(f"tf2onnx wrote invalid ONNX: {_last_line(error)}") from error
    return proto


def _convert(saved: SavedModel, name: str, graph: Graph) -> onnx.ModelProto:
    """Convert with names that TensorFlow accepts; ``_restore_declared_names`` gives the tensors their own."""
    frozen = saved.frozen(name, list(graph.inputs), list(graph.outputs))
    handlers = gradient_handlers() | operator_handlers(saved.tables())
    options: dict[str, Any] = {"opset": OPSET, "custom_op_handlers": handlers}
    if frozen.has_frames:  # the converter knows the loops of TensorFlow 1 in a graph, but not in a function

        def convert() -> onnx.ModelProto:
            made: onnx.ModelProto = tf2onnx.convert.from_graph_def(
                frozen.graph_def, input_names=frozen.inputs, output_names=frozen.outputs, **options
            )[0]
            names = {tensor: _INPUT.format(place) for place, tensor in enumerate(frozen.inputs)}
            names |= {tensor: _OUTPUT.format(place) for place, tensor in enumerate(frozen.outputs)}
            _rename_tensors(made.graph, names)
            return made
    else:
        signature = frozen.function()
        wanted = [
            tf.TensorSpec(_converted_shape(spec), spec.dtype, _INPUT.format(place))
            for place, spec in enumerate(graph.inputs.values())
        ]

        def call(*tensors: Any) -> Any:
            return {_OUTPUT.format(place): tensor for place, tensor in enumerate(signature(*tensors))}

        function = tf.function(call, autograph=False)

        def convert() -> onnx.ModelProto:
            made: onnx.ModelProto = tf2onnx.convert.from_function(function, wanted, **options)[0]
            return made

    with without_logging():
        try:
            with _without_graph_copies():
                return convert()
        except Exception:  # perhaps one optimisation failed: with graph copies, tf2onnx skips it and does the others
            return convert()


@contextmanager
def _without_graph_copies() -> Iterator[None]:
    """Stop tf2onnx from copying the whole graph before each optimisation, which takes a third of the time or more."""
    os.environ[ENV_TF2ONNX_CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        del os.environ[ENV_TF2ONNX_CATCH_ERRORS]


def _restore_declared_names(proto: onnx.ModelProto, name: str, graph: Graph) -> None:
    """Replace the converter's names of axes by those that the graph declares, and write a reproducible header.

    Raises:
        Failed: the converter changed an input, an output or a dtype.
    """
    _rename_tensors(
        proto.graph,
        {
            pattern.format(place): tensor
            for pattern, declared in ((_INPUT, graph.inputs), (_OUTPUT, graph.outputs))
            for place, tensor in enumerate(declared)
        },
    )
    for side, declared, values in (
        ("input", graph.inputs, proto.graph.input),
        ("output", graph.outputs, proto.graph.output),
    ):
        kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        if kinds.keys() - declared.keys() or (side == "output" and kinds.keys() != declared.keys()):
            raise Failed(f"the {side}s became {sorted(kinds)}; expected {sorted(declared)}")
        wrong = [t for t, kind in kinds.items() if kind != _element_type(declared[t])]
        if wrong:
            raise Failed(f"{side} '{wrong[0]}' changed its dtype; expected {declared[wrong[0]]}")
        del values[:]
        values.extend(  # the converter drops an input that nothing reads, but clients still send it
            onnx.helper.make_tensor_value_info(tensor, _element_type(spec), list(spec.shape) if spec.ranked else None)
            for tensor, spec in declared.items()
        )
    proto.producer_name, proto.producer_version = "bookserve", __version__
    proto.graph.name, proto.graph.doc_string = name, ""


def _unknown_operators(graph: onnx.GraphProto) -> Iterator[str]:
    """The operators that the converter left as TensorFlow's. ONNX's shape inference crashes the process on some."""
    for node in graph.node:
        if not node.domain and not onnx.defs.has(node.op_type):
            yield node.op_type
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _unknown_operators(inner)


def _correct_groups(proto: onnx.ModelProto) -> None:
    """Write the number of groups into convolutions: the converter takes 1 where it does not know the input's channels.

    TensorFlow's operator has no such number; it follows from the channels of the input and of the kernel.
    """
    kernels = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv" and node.input[1] in kernels]
    for _ in convolutions:  # each one that is corrected may give the next one its shape
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
        shapes = {value.name: value.type.tensor_type.shape.dim for value in [*inferred.value_info, *inferred.input]}
        changed = False
        for node in convolutions:
            axes = list(shapes.get(node.input[0], ()))
            channels = axes[1].dim_value if len(axes) > 1 else 0
            group = next((attribute for attribute in node.attribute if attribute.name == "group"), None)
            wanted = channels // kernels[node.input[1]][1]
            if wanted and wanted != (group.i if group else 1):
                if group:
                    node.attribute.remove(group)
                node.attribute.append(onnx.helper.make_attribute("group", wanted))
                changed = True
        if not changed:
            return


def _renumber(proto: onnx.ModelProto, kept: set[str]) -> None:
    """Number the names of nodes and inner tensors anew, so that the same model always becomes the same file.

    The converter numbers them from where its last conversion in this process stopped. ``kept`` are names that stay.
    """
    names: dict[str, str] = {name: name for name in ("", *kept)}

    def renamed(name: str) -> str:
        if name not in names:
            plain = _NUMBERS.sub("", name)
            names[name] = name if plain == name else f"{plain}__{len(names)}"
        return names[name]

    def rename(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            node.name = renamed(node.name)
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
            for attribute in node.attribute:
                for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                    rename(inner)
        for tensors in (graph.input, graph.output, graph.value_info, graph.initializer):
            for tensor in tensors:
                tensor.name = renamed(tensor.name)
        for value in [*graph.input, *graph.output]:
            for axis in value.type.tensor_type.shape.dim:
                if _NUMBERS.search(axis.dim_param):  # the converter's own name of a free axis
                    axis.ClearField("dim_param")
        graph.name = renamed(graph.name)
        initializers = sorted(graph.initializer, key=lambda tensor: tensor.name)
        del graph.initializer[:], graph.value_info[:]
        graph.initializer.extend(initializers)

    rename(proto.graph)


def _check(proto: onnx.ModelProto) -> None:
    """Let ONNX's checker check a model; it raises errors of several classes.

    It refuses tensors of unknown rank, which ONNX allows: it sees such a model with other shapes, without inference.
    """
    sides = [*proto.graph.input, *proto.graph.output]
    if all(value.type.tensor_type.HasField("shape") for value in sides):
        onnx.checker.check_model(proto, full_check=True)
        return
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    for value in [*shown.graph.input, *shown.graph.output]:
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(shown)


def _rename_tensors(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors in a graph and in the graphs of its loops and branches.

    A tensor inside that already has one of the new names gets another one.
    """
    taken = set(names.values()) - names.keys()
    others = {name: f"{name}/inner" for name in taken}
    changed = {**others, **names}
    for tensors in (graph.input, graph.output, graph.value_info, graph.initializer):
        for one in tensors:
            one.name = changed.get(one.name, one.name)
    for node in graph.node:
        node.input[:] = [changed.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [changed.get(tensor, tensor) for tensor in node.output]
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                _rename_tensors(inner, names)


def _converted_shape(spec: TensorSpec) -> list[int | None] | None:
    return [None if isinstance(axis, str) else axis for axis in spec.shape] if spec.ranked else None


def _element_type(spec: TensorSpec) -> int:
    if spec.dtype == "string":
        return int(onnx.TensorProto.STRING)
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().rstrip(".")

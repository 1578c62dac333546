"""List the layers of an ONNX file with their weights and shapes, without the package ONNX and without reading weights.

It is for people who look at a model. Operators that only move data are left out, an addition of weights counts as the
bias of the layer before it, and an activation belongs to the layer before it. Shapes are followed through the
operators that Keras's layers become; where they cannot be known, a layer has none.

Source: ``onnx.proto`` (the fields below by number) and the definitions of ONNX's operators.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from bookserve.bundle.onnx_wire import fields
from bookserve.errors import Failed
from bookserve.graph import Graph

#: Shape of a tensor: numbers, and the names of sizes that are not fixed.
Shape = tuple[int | str, ...]
#: Operators that are a layer by themselves, with the words for them.
_LAYERS = {
    "Conv": "Convolution",
    "ConvTranspose": "Transposed convolution",
    "MatMul": "Dense",
    "Gemm": "Dense",
    "LSTM": "LSTM",
    "GRU": "GRU",
    "RNN": "Simple RNN",
    "Gather": "Embedding",
    "MaxPool": "Max pooling",
    "AveragePool": "Average pooling",
    "GlobalMaxPool": "Global max pooling",
    "GlobalAveragePool": "Global average pooling",
    "BatchNormalization": "Batch normalisation",
    "LayerNormalization": "Layer normalisation",
    "Concat": "Concatenation",
}
_NEEDS_WEIGHTS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "LSTM", "GRU", "RNN")
_ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "Softmax", "LeakyRelu", "Elu", "Selu", "Clip", "HardSigmoid", "Softplus")
#: Operators whose output has the shape of their first input.
_SAME_SHAPE = (*_ACTIVATIONS, "Cast", "Identity", "BatchNormalization", "LayerNormalization", "Dropout", "Neg", "Exp")
#: ONNX's numbers of the types int32, int64 and bool.
_INTEGERS = (6, 7, 9)
#: Layers that are listed at most.
_MOST = 400


class Layer(msgspec.Struct, omit_defaults=True):
    """One layer, in the order of the file."""

    #: The operator in words, such as ``Convolution``.
    kind: str
    #: Size of a window, or of what a row of weights stands for: ``3 × 3``; '' if there is none.
    detail: str = ""
    #: Shapes of its weights, as the file holds them.
    weights: list[tuple[int, ...]] = []
    #: How many weights those are.
    parameters: int = 0
    #: ONNX's name of the activation, if there is one.
    activation: str = ""
    #: Shape of the output, channels last; empty if it is not known.
    shape: Shape = ()


class _Node(NamedTuple):
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, list[int]]


def list_layers(path: Path, graph: Graph) -> list[Layer]:
    """The layers of the file ``path``, whose inputs are those of ``graph``.

    Raises:
        Failed: the file is not an ONNX file, or it is truncated.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            nodes, weights, constants = _read(content)
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise Failed(f"{path} is not a complete ONNX file.", "It is damaged: export it again.") from error
    shapes: dict[str, Shape] = {name: spec.shape for name, spec in graph.inputs.items()}
    return _Walk(weights, constants, shapes).run(nodes)


def _read(content: mmap.mmap) -> tuple[list[_Node], dict[str, tuple[int, ...]], dict[str, list[int]]]:
    """The nodes of the main graph, the shapes of its weights by name, and the values of short lists of integers."""
    nodes: list[_Node] = []
    weights: dict[str, tuple[int, ...]] = {}
    constants: dict[str, list[int]] = {}
    for model in fields(content, 0, len(content)):
        if model.number != 7 or model.value is not None:
            continue
        for part in fields(content, model.start, model.end):
            if part.number == 1:
                nodes.append(_read_node(content, part.start, part.end))
            elif part.number == 5:
                name, shape, integers = _read_tensor(content, part.start, part.end)
                if integers is None:
                    weights[name] = shape
                else:
                    constants[name] = integers
    return nodes, weights, constants


def _read_node(content: mmap.mmap, start: int, end: int) -> _Node:
    node = _Node("", [], [], {})
    for part in fields(content, start, end):
        if part.number == 5:
            name, numbers = _read_attribute(content, part.start, part.end)
            node.attributes[name] = numbers
        elif part.number in (1, 2):
            (node.inputs if part.number == 1 else node.outputs).append(content[part.start : part.end].decode())
        elif part.number == 4:
            node = node._replace(operator=content[part.start : part.end].decode())
    return node


def _read_attribute(content: mmap.mmap, start: int, end: int) -> tuple[str, list[int]]:
    """Name and integers of an attribute; a text becomes the codes of its characters."""
    name, numbers = "", list[int]()
    for part in fields(content, start, end):
        if part.number == 1:
            name = content[part.start : part.end].decode()
        elif part.number == 4:
            numbers = list(content[part.start : part.end])
        elif part.number in (3, 8) and part.value is not None:
            numbers.append(part.value - (1 << 64) if part.value >> 63 else part.value)
    return name, numbers


def _read_tensor(content: mmap.mmap, start: int, end: int) -> tuple[str, tuple[int, ...], list[int] | None]:
    """Name and shape; for integers of 64 bits, which are positions and sizes and no weights, also their values."""
    name, shape, kind, integers = "", list[int](), 0, list[int]()
    for part in fields(content, start, end):
        if part.number == 1 and part.value is not None:
            shape.append(part.value)
        elif part.number == 2 and part.value is not None:
            kind = part.value
        elif part.number == 8:
            name = content[part.start : part.end].decode()
        elif part.number == 9 and part.end - part.start <= 64:
            raw = content[part.start : part.end]
            integers = [int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)]
    return name, tuple(shape), integers if kind in _INTEGERS else None


class _Walk:
    """Goes through the nodes in order, with what is known of each tensor."""

    def __init__(
        self, weights: dict[str, tuple[int, ...]], constants: dict[str, list[int]], shapes: dict[str, Shape]
    ) -> None:
        self._weights = weights
        self._constants = constants
        self._shapes = shapes
        #: The layer that made a tensor, so that its bias and its activation find it.
        self._makers: dict[str, Layer] = {}
        #: Tensors whose channels come second, as ONNX's convolutions want them.
        self._channels_second: set[str] = set()

    def run(self, nodes: list[_Node]) -> list[Layer]:
        layers: list[Layer] = []
        for node in nodes:
            if not node.inputs or not node.outputs:
                continue
            source, target = node.inputs[0], node.outputs[0]
            if source in self._weights and len(node.inputs) == 1:  # a cast of weights that are kept in 16 bits
                self._weights[target] = self._weights[source]
                continue
            own = [self._weights[name] for name in node.inputs if name in self._weights]
            shape = self._shape(node)
            if shape:
                self._shapes[target] = shape
            maker = next((self._makers[name] for name in node.inputs if name in self._makers), None)
            if self._is_layer(node, own):
                maker = Layer(_LAYERS[node.operator], _detail(node, own), own, sum(map(math.prod, own)))
                if node.operator == "Conv" and own[0][1] == 1 and node.attributes.get("group", [1])[0] > 1:
                    maker.kind = "Depthwise convolution"
                layers.append(maker)
                maker.shape = self._shown(target)
            elif maker and node.operator in ("Add", "Mul", "Sub", "Div") and own and own[0]:
                maker.weights = [*maker.weights, own[0]]
                maker.parameters += math.prod(own[0])
                maker.shape = self._shown(target) or maker.shape
            elif maker and node.operator in _ACTIVATIONS and not maker.activation:
                maker.activation = node.operator
            if maker:
                for output in node.outputs:
                    self._makers[output] = maker
        return layers[:_MOST]

    def _is_layer(self, node: _Node, own: list[tuple[int, ...]]) -> bool:
        if node.operator == "Gather":
            return bool(own) and node.inputs[0] in self._weights and len(own[0]) == 2
        if node.operator == "Concat":
            return sum(name in self._makers for name in node.inputs) > 1
        return node.operator in _LAYERS and (bool(own) or node.operator not in _NEEDS_WEIGHTS)

    def _shown(self, tensor: str) -> Shape:
        """The shape with the channels last."""
        shape = self._shapes.get(tensor, ())
        return (shape[0], *shape[2:], shape[1]) if tensor in self._channels_second and len(shape) > 2 else shape

    def _shape(self, node: _Node) -> Shape:
        """Shape of the first output; empty if it is not known."""
        operator, target = node.operator, node.outputs[0]
        first = self._shapes.get(node.inputs[0], ())
        if node.inputs[0] in self._channels_second and operator not in ("Transpose", "Reshape", "Flatten", "Squeeze"):
            self._channels_second.add(target)
        if operator in _SAME_SHAPE:
            return first
        if operator in ("Add", "Mul", "Sub", "Div"):
            return max((self._shapes.get(name, ()) for name in node.inputs), key=len)
        if operator == "Transpose" and first:
            order = node.attributes.get("perm", [])
            if order == [0, 3, 1, 2]:
                self._channels_second.add(target)
            return tuple(first[axis] for axis in order) if len(order) == len(first) else ()
        if operator in ("Conv", "MaxPool", "AveragePool") and first:
            self._channels_second.add(target)
            kernel = self._weights.get(node.inputs[1], ()) if operator == "Conv" else ()
            channels = kernel[0] if kernel else first[1]
            return (first[0], channels, *_windows(first[2:], node.attributes, kernel[2:]))
        if operator == "Reshape" and first:
            return self._reshaped(node, first)
        if operator == "Pad" and first:
            pads = node.attributes.get("pads") or self._constants.get((*node.inputs, "")[1], [])
            both = zip(pads[: len(first)], pads[len(first) :], strict=False)
            added = [before + after for before, after in both]
            if len(added) != len(first):
                return ()
            return tuple(
                size + more if isinstance(size, int) else size for size, more in zip(first, added, strict=True)
            )
        if operator in ("GlobalAveragePool", "GlobalMaxPool") and first:
            return (first[0], first[1])
        if operator in ("MatMul", "Gemm"):
            kernel = self._weights.get(node.inputs[1], ())
            turned = operator == "Gemm" and node.attributes.get("transB", [0])[0]
            units = kernel[0 if turned else -1] if kernel else 0
            return (*(first[:-1] or ("batch",)), units) if units else ()
        if operator == "Gather" and node.inputs[0] in self._weights:
            entries = self._weights[node.inputs[0]]
            indices = self._shapes.get(node.inputs[1], ())
            return (*indices, *entries[1:]) if indices else ()
        if operator in ("LSTM", "GRU", "RNN"):
            return ("batch", node.attributes.get("hidden_size", [0])[0])
        return ()

    def _reshaped(self, node: _Node, first: Shape) -> Shape:
        """The shape after ``Reshape`` to constant sizes; a converter turns one channel around with it."""
        sizes = self._constants.get((*node.inputs, "")[1], [])
        if not sizes or sizes.count(-1) > 1 or 0 in sizes:
            return ()
        result: list[int | str] = list(sizes)
        if -1 in sizes:
            if sizes[0] != -1:
                return ()
            result[0] = first[0]
        if len(first) == 4 and len(result) == 4 and first[3] == 1 and result[1] == 1:
            self._channels_second.add(node.outputs[0])
        return tuple(result)


def _windows(sizes: Shape, attributes: Mapping[str, list[int]], kernel: tuple[int, ...]) -> list[int | str]:
    """Sizes after a window has moved over them, as ONNX defines them."""
    kernel = kernel or tuple(attributes.get("kernel_shape", []))
    strides = attributes.get("strides") or [1] * len(sizes)
    dilations = attributes.get("dilations") or [1] * len(sizes)
    pads = attributes.get("pads") or [0] * (2 * len(sizes))
    if attributes.get("ceil_mode", [0])[0]:
        return ["?"] * len(sizes)
    same = bytes(attributes.get("auto_pad", [])).startswith(b"SAME")
    result: list[int | str] = []
    for axis, size in enumerate(sizes):
        if not isinstance(size, int) or axis >= len(kernel):
            result.append(size)
        elif same:
            result.append(-(-size // strides[axis]))
        else:
            window = dilations[axis] * (kernel[axis] - 1) + 1
            result.append((size + pads[axis] + pads[axis + len(sizes)] - window) // strides[axis] + 1)
    return result


def _detail(node: _Node, weights: list[tuple[int, ...]]) -> str:
    if node.operator == "Gather":
        return f"{weights[0][0]:,} entries"
    if node.operator in ("LSTM", "GRU", "RNN"):
        return f"{node.attributes.get('hidden_size', [0])[0]} units"
    return " × ".join(map(str, node.attributes.get("kernel_shape", [])))

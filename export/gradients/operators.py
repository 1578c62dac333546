# ruff: noqa: TID253
"""Convert TensorFlow's gradient operators to ONNX operators.

A graph with a ``GradientTape`` (DeepDream's step, the loss of style transfer) has operators that tf2onnx does not
convert. Each is written here by the rule of TensorFlow's CPU kernel; height and width may be free axes. Gradients of
weights are not needed: the graphs do not return them, so they were removed before.

Sources: tensorflow/core/kernels and tensorflow/core/ops of TensorFlow 2.21, and ONNX's operator documentation.
Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto
from tf2onnx import utils

from export.gradients.node_writer import NodeWriter

Handler = Callable[[NodeWriter, Any], list[str]]


def gradient_handlers() -> dict[str, tuple[Callable[..., None], list[str]]]:
    """Return the handlers by operator, as ``tf2onnx.convert.from_function(custom_op_handlers=…)`` takes them."""
    return {name: (tf2onnx_handler(handler), []) for name, handler in _HANDLERS.items()}


def tf2onnx_handler(handler: Handler) -> Callable[..., None]:
    """A handler as tf2onnx calls it: the results of ``handler`` take the place of the node's outputs."""

    def replace(context: Any, node: Any, name: str, _: list[str]) -> None:
        writer = NodeWriter(context, name)
        shapes, dtypes = node.output_shapes, node.output_dtypes
        results = handler(writer, node)
        outputs = list(node.output)
        context.remove_node(node.name)
        for output, result, shape, dtype in zip(outputs, results, shapes, dtypes, strict=False):
            context.make_node("Identity", [result], outputs=[output], shapes=[shape], dtypes=[dtype])

    return replace


def _relu(write: NodeWriter, node: Any) -> list[str]:
    """(gradient, feature) → the gradient where the feature is positive."""
    gradient, feature = node.input
    zero = write.constant(np.zeros((), np.float32))
    return [write("Where", write("Greater", feature, zero), gradient, zero)]


def _relu6(write: NodeWriter, node: Any) -> list[str]:
    gradient, feature = node.input
    zero, six = write.constant(np.zeros((), np.float32)), write.constant(np.full((), 6, np.float32))
    inside = write("And", write("Greater", feature, zero), write("Less", feature, six))
    return [write("Where", inside, gradient, zero)]


def _leaky_relu(write: NodeWriter, node: Any) -> list[str]:
    gradient, feature = node.input
    zero, slope = (
        write.constant(np.zeros((), np.float32)),
        write.constant(np.float32(node.get_attr_value("alpha", 0.2))),
    )
    return [write("Where", write("Greater", feature, zero), gradient, write("Mul", gradient, slope))]


def _elu(write: NodeWriter, node: Any) -> list[str]:
    """(gradient, output) → gradient · (output + 1) where the output is negative, since exp(x) = output + 1."""
    gradient, output = node.input
    zero, one = write.constant(np.zeros((), np.float32)), write.constant(np.ones((), np.float32))
    below = write("Mul", gradient, write("Add", output, one))
    return [write("Where", write("Less", output, zero), below, gradient)]


def _sigmoid(write: NodeWriter, node: Any) -> list[str]:
    """(output, gradient) → gradient · output · (1 - output)."""
    output, gradient = node.input
    slope = write("Mul", output, write("Sub", write.constant(np.ones((), np.float32)), output))
    return [write("Mul", gradient, slope)]


def _tanh(write: NodeWriter, node: Any) -> list[str]:
    """(output, gradient) → gradient · (1 - output²)."""
    output, gradient = node.input
    slope = write("Sub", write.constant(np.ones((), np.float32)), write("Mul", output, output))
    return [write("Mul", gradient, slope)]


def _softplus(write: NodeWriter, node: Any) -> list[str]:
    gradient, feature = node.input
    return [write("Mul", gradient, write("Sigmoid", feature))]


def _rsqrt(write: NodeWriter, node: Any) -> list[str]:
    """(output, gradient) → -½ · gradient · output³."""
    output, gradient = node.input
    cube = write("Mul", write("Mul", output, output), output)
    return [write("Mul", write("Mul", gradient, cube), write.constant(np.float32(-0.5)))]


def _sqrt(write: NodeWriter, node: Any) -> list[str]:
    """(output, gradient) → ½ · gradient / output."""
    output, gradient = node.input
    return [write("Div", write("Mul", gradient, write.constant(np.float32(0.5))), output)]


def _convolution(write: NodeWriter, node: Any) -> list[str]:
    """(shape of the input, filter [h, w, in, out], gradient) → the gradient of the convolution's input."""
    sizes, kernel, gradient, *bias = node.input  # tf2onnx added the bias of a transposed convolution as an input
    shape = write.known_shape(kernel)
    group = shape[2] if node.type == "DepthwiseConv2dNativeBackpropInput" else 1
    window = window_of(node, shape[:2])
    result = to_channels_last(
        write,
        convolution_input_gradient(
            write, to_channels_first(write, gradient), kernel, write.height_width(sizes), window, group
        ),
    )
    return [write("Add", result, bias[0]) if bias else result]


def _max_pool(write: NodeWriter, node: Any) -> list[str]:
    """(input, output, gradient) → the gradient of the input: added at the first maximum of each window.

    Windows may overlap.
    """
    given, _, gradient = node.input
    size = write.shape_tensor(to_channels_first(write, given))
    window = window_of(node)
    _, places = write.multi_output(
        "MaxPool",
        [to_channels_first(write, given)],
        2,
        kernel_shape=window.kernel,
        strides=window.strides,
        auto_pad=window.auto_pad,
    )
    result = _scatter_add(write, write("ReduceProd", size, keepdims=1), places, to_channels_first(write, gradient))
    return [to_channels_last(write, write("Reshape", result, size))]


def _average_pool(write: NodeWriter, node: Any) -> list[str]:
    """(shape of the input, gradient) → the gradient of the input: an equal part for each element of a window.

    Padding is not counted as an element.
    """
    sizes, gradient = node.input
    window = window_of(node)
    channels = write.known_shape(gradient)[3]
    size = write.height_width(sizes)
    whole = write("Concat", write.constant(np.ones(2, np.int64)), size, axis=0)
    ones = write("Expand", write.constant(np.ones((1, 1, 1, 1), np.float32)), whole)
    all_ones = write.constant(np.ones((1, 1, *window.kernel), np.float32))
    count = write("Conv", ones, all_ones, strides=window.strides, auto_pad=window.auto_pad)
    share = write("Div", to_channels_first(write, gradient), count)
    kernel = write.constant(np.ones((*window.kernel, channels, 1), np.float32))
    return [to_channels_last(write, convolution_input_gradient(write, share, kernel, size, window, channels))]


def _strided_slice(write: NodeWriter, node: Any) -> list[str]:
    """(shape, begin, end, strides, gradient) → the gradient where the slice was taken, 0 elsewhere."""
    shape, *bounds, gradient = node.input
    rank = write.known_shape(shape)[0]
    utils.make_sure(all(write.is_constant(bound) for bound in bounds), "the bounds of a slice must be constants")
    begin, end, strides = (write.constant_value(bound) for bound in bounds)
    masks = {
        name: node.get_attr_value(f"{name}_mask", 0) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    starts, ends, axis = [0] * rank, [np.iinfo(np.int64).max] * rank, 0
    steps = [1] * rank
    for i in range(len(begin)):
        bit = 1 << i
        if masks["ellipsis"] & bit:
            later = sum(not masks["new_axis"] & (1 << j) for j in range(i + 1, len(begin)))
            axis = rank - later
            continue
        if masks["new_axis"] & bit:
            continue
        steps[axis] = int(strides[i])
        far = np.iinfo(np.int64).max if strides[i] > 0 else np.iinfo(np.int64).min
        if masks["shrink_axis"] & bit:
            starts[axis] = int(begin[i])
            ends[axis] = int(begin[i]) + 1 if begin[i] != -1 else np.iinfo(np.int64).max
        else:
            starts[axis] = (0 if strides[i] > 0 else -1) if masks["begin"] & bit else int(begin[i])
            ends[axis] = far if masks["end"] & bit else int(end[i])
        axis += 1
    size = write.as_int64(shape)
    count = write("ReduceProd", size, keepdims=1)
    scalar = write("Squeeze", count)
    zero, one = write.constant(np.zeros((), np.int64)), write.constant(np.ones((), np.int64))
    numbers = write("Reshape", write("Range", zero, scalar, one), size)
    cut = [write.constant(np.array(values, np.int64)) for values in (starts, ends, range(rank), steps)]
    return [write("Reshape", _scatter_add(write, count, write("Slice", numbers, *cut), gradient), size)]


def _scatter_add(write: NodeWriter, count: str, places: str, values: str) -> str:
    """Add each value at its place to ``count`` zeros; return float32 [count]."""
    flat = write.constant(np.array([-1], np.int64))
    zeros = write("Expand", write.constant(np.zeros(1, np.float32)), count)
    indices, updates = write("Reshape", places, flat), write("Reshape", values, flat)
    return write("ScatterElements", zeros, indices, updates, axis=0, reduction="add")


def _shapes(write: NodeWriter, node: Any) -> list[str]:
    """(tensor …) → the shape of each."""
    kind = node.get_attr_value("out_type", TensorProto.INT32)
    return [write("Cast", write("Shape", tensor), to=kind) for tensor in node.input]


def _concat_offset(write: NodeWriter, node: Any) -> list[str]:
    """(axis, shape, shape …) → where each of the concatenated tensors begins."""
    axis, *shapes = node.input
    utils.make_sure(write.is_constant(axis), "the axis of a concatenation must be a constant")
    rank = write.known_shape(shapes[0])[0]
    along = write.constant(np.eye(rank, dtype=np.int64)[int(write.constant_value(axis))])
    at = write.constant(np.zeros(rank, np.int64))
    result = []
    for shape in shapes:
        result.append(write("Cast", at, to=node.output_dtypes[0]))
        at = write("Add", at, write("Mul", write.as_int64(shape), along))
    return result


def _broadcast_arguments(write: NodeWriter, node: Any) -> list[str]:
    """(shape, shape) → for each operand the axes of length 1, over which its gradient is summed."""
    ranks = [write.known_shape(shape)[0] for shape in node.input]
    result = []
    for shape, rank in zip(node.input, ranks, strict=True):
        missing = write.constant(np.ones(max(ranks) - rank, np.int64))
        whole = write("Concat", missing, write.as_int64(shape), axis=0)
        single = write("Equal", whole, write.constant(np.ones((), np.int64)))
        axes = write("Squeeze", write("NonZero", single), write.constant(np.zeros(1, np.int64)))
        result.append(write("Cast", axes, to=node.output_dtypes[0]))
    return result


def _stitch(write: NodeWriter, node: Any) -> list[str]:
    """(indices …, rows …) → each row at its index; of several rows with the same index the last is used."""
    half = len(node.input) // 2
    row = [1] * (len(node.output_shapes[0]) - 1)
    places = [
        write("Reshape", write.as_int64(tensor), write.constant(np.array([-1, 1]))) for tensor in node.input[:half]
    ]
    rows = node.input[half:]
    if not row:
        rows = [write("Reshape", tensor, write.constant(np.array([-1]))) for tensor in rows]
    last = write("ReduceMax", write("Concat", *places, axis=0), keepdims=0)
    length = write("Reshape", write("Add", last, write.constant(np.ones((), np.int64))), write.constant(np.array([1])))
    rest = write("Slice", write.shape_tensor(rows[0]), write.constant(np.array([1])), write.constant(np.array([99])))
    zero = write("Cast", write.constant(np.zeros([1, *row], np.float32)), to=node.output_dtypes[0])
    result = write("Expand", zero, write("Concat", length, rest, axis=0))
    for place, values in zip(places, rows, strict=True):
        result = write("ScatterND", result, place, values)
    return [result]


class Window(NamedTuple):
    """The sliding window of a convolution or pooling: height and width, strides, dilations, and the padding.

    ``same`` is True for TensorFlow's padding SAME, False for VALID.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    same: bool

    @property
    def auto_pad(self) -> str:
        """ONNX's value for the padding."""
        return "SAME_UPPER" if self.same else "VALID"

    @property
    def extent(self) -> list[int]:
        """How many rows and columns a window spans, dilations included."""
        return [(size - 1) * spacing + 1 for size, spacing in zip(self.kernel, self.dilations, strict=True)]


def window_of(node: Any, kernel: list[int] | None = None) -> Window:
    """Read the window from the attributes of a pooling or convolution; ``kernel`` where they do not say its size.

    tf2onnx's own error is raised where channels do not come last, or for another padding than SAME and VALID.
    """
    utils.make_sure(node.get_attr_value("data_format", b"NHWC") == b"NHWC", "channels must come last")
    padding = node.get_attr_value("padding")
    utils.make_sure(padding in (b"SAME", b"VALID"), "the padding is %s; only SAME and VALID are converted", padding)
    strides = list(node.get_attr_value("strides"))[1:3]
    dilations = list(node.get_attr_value("dilations", [1, 1, 1, 1]))[1:3]
    return Window(kernel or list(node.get_attr_value("ksize"))[1:3], strides, dilations, padding == b"SAME")


def to_channels_first(write: NodeWriter, tensor: str) -> str:
    """Transpose [batch, height, width, channels] to [batch, channels, height, width]."""
    return write("Transpose", tensor, perm=[0, 3, 1, 2])


def to_channels_last(write: NodeWriter, tensor: str) -> str:
    """Transpose [batch, channels, height, width] to [batch, height, width, channels]."""
    return write("Transpose", tensor, perm=[0, 2, 3, 1])


def convolution_input_gradient(
    write: NodeWriter, gradient: str, kernel: str, size: str, window: Window, group: int
) -> str:
    """Return the gradient of a convolution's input [batch, in, *size] from that of its output [batch, out, h, w].

    ``kernel`` is TensorFlow's filter [h, w, in, out], or [h, w, in, multiplier] for a depthwise convolution of
    ``group`` channels. With strides of 1 the gradient is a convolution with the flipped filter, which runtimes do
    fastest. Otherwise it is a transposed convolution, whose result is cut at the padding; that depends on the size.
    """
    if window.strides == [1, 1]:
        flipped = write("Transpose", kernel, perm=[2, 3, 0, 1])
        back = [write.constant(np.array(values, np.int64)) for values in ([-1, -1], [-(2**62)] * 2, [2, 3], [-1, -1])]
        before = [(extent - 1) // 2 if window.same else 0 for extent in window.extent]
        after = [extent - 1 - pad if window.same else 0 for extent, pad in zip(window.extent, before, strict=True)]
        pads = [extent - 1 - pad for pads in (before, after) for extent, pad in zip(window.extent, pads, strict=True)]
        weights = write("Slice", flipped, *back)
        return write("Conv", gradient, weights, pads=pads, dilations=window.dilations, group=group)
    weights = (
        write(
            "Reshape", write("Transpose", kernel, perm=[2, 3, 0, 1]), write.constant(np.array([-1, 1, *window.kernel]))
        )
        if group > 1
        else write("Transpose", kernel, perm=[3, 2, 0, 1])
    )
    full = write(
        "ConvTranspose",
        gradient,
        weights,
        strides=window.strides,
        dilations=window.dilations,
        output_padding=[step - 1 for step in window.strides],  # rows that no window covers
        group=group,
    )
    start = write.constant(np.zeros(2, np.int64))
    if window.same:
        steps = write(
            "Slice", write.shape_tensor(gradient), write.constant(np.array([2])), write.constant(np.array([4]))
        )
        less = write("Sub", steps, write.constant(np.ones(2, np.int64)))
        span = write("Mul", less, write.constant(np.array(window.strides, np.int64)))
        total = write("Sub", write("Add", span, write.constant(np.array(window.extent, np.int64))), size)
        start = write("Div", write("Max", total, start), write.constant(np.array([2, 2], np.int64)))
    return write("Slice", full, start, write("Add", start, size), write.constant(np.array([2, 3], np.int64)))


_HANDLERS: dict[str, Handler] = {
    "ReluGrad": _relu,
    "Relu6Grad": _relu6,
    "LeakyReluGrad": _leaky_relu,
    "EluGrad": _elu,
    "SigmoidGrad": _sigmoid,
    "TanhGrad": _tanh,
    "SoftplusGrad": _softplus,
    "RsqrtGrad": _rsqrt,
    "SqrtGrad": _sqrt,
    "Conv2DBackpropInput": _convolution,
    "DepthwiseConv2dNativeBackpropInput": _convolution,
    "MaxPoolGrad": _max_pool,
    "AvgPoolGrad": _average_pool,
    "StridedSliceGrad": _strided_slice,
    "ShapeN": _shapes,
    "ConcatOffset": _concat_offset,
    "DynamicStitch": _stitch,
    "BroadcastGradientArgs": _broadcast_arguments,
}

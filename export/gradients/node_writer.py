# ruff: noqa: TID253
"""Backward: how handlers of gradients write ONNX nodes, and the convolution run backwards that several of them need.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto
from tf2onnx import utils


class Writer:
    """Adds nodes to tf2onnx's graph; a call returns the name of the new node's output."""

    def __init__(self, context: Any, name: str) -> None:
        self._context, self._name = context, name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.all(operator, list(inputs), 1, **attributes)[0]

    def all(self, operator: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
        """Add a node of ``count`` outputs."""
        node = self._context.make_node(
            operator, inputs, attr=attributes, output_count=count, name=utils.make_name(f"{self._name}/{operator}")
        )
        return list(node.output)

    def constant(self, value: np.ndarray | np.generic) -> str:
        """A tensor that is always the same."""
        name = utils.make_name(f"{self._name}/constant")
        return str(self._context.make_const(name, np.asarray(value)).output[0])

    def is_constant(self, tensor: str) -> bool:
        """Whether the tensor's value is known."""
        return bool(self._context.is_const(tensor))

    def value(self, tensor: str) -> np.ndarray:
        """A constant's value."""
        return np.asarray(self._context.get_tensor_value(tensor, as_list=False))

    def shape(self, tensor: str) -> list[int]:
        """What is known of a tensor's shape; -1 is a size that each call chooses."""
        shape = self._context.get_shape(tensor)
        utils.make_sure(shape is not None, "the rank of %s is not known", tensor)
        return list(shape)

    def shape_of(self, tensor: str) -> str:
        """A tensor's shape as int64 numbers in the graph."""
        return self("Shape", tensor)

    def int64(self, tensor: str) -> str:
        """The same numbers as int64."""
        return self("Cast", tensor, to=TensorProto.INT64)

    def size(self, sizes: str) -> str:
        """Height and width, int64 [2], out of the numbers of batch, height, width and channels."""
        first, third = self.constant(np.array([1], np.int64)), self.constant(np.array([3], np.int64))
        return self("Slice", self.int64(sizes), first, third)


class Grid(NamedTuple):
    """Where a window stands: height and width of the window, its steps and the spacing within, and the padding."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    same: bool

    @property
    def auto_pad(self) -> str:
        """ONNX's word for the padding."""
        return "SAME_UPPER" if self.same else "VALID"

    @property
    def reach(self) -> list[int]:
        """How many rows and columns a window spans."""
        return [(size - 1) * spacing + 1 for size, spacing in zip(self.kernel, self.dilations, strict=True)]


def grid(node: Any, kernel: list[int] | None = None) -> Grid:
    """The window of a pooling or convolution whose channels come last; ``kernel`` where no attribute gives it."""
    utils.make_sure(node.get_attr_value("data_format", b"NHWC") == b"NHWC", "channels must come last")
    padding = node.get_attr_value("padding")
    utils.make_sure(padding in (b"SAME", b"VALID"), "padding %s", padding)
    strides = list(node.get_attr_value("strides"))[1:3]
    dilations = list(node.get_attr_value("dilations", [1, 1, 1, 1]))[1:3]
    return Grid(kernel or list(node.get_attr_value("ksize"))[1:3], strides, dilations, padding == b"SAME")


def to_first(write: Writer, tensor: str) -> str:
    """Channels from the last place to the second."""
    return write("Transpose", tensor, perm=[0, 3, 1, 2])


def to_last(write: Writer, tensor: str) -> str:
    """Channels from the second place to the last."""
    return write("Transpose", tensor, perm=[0, 2, 3, 1])


def convolved_back(write: Writer, gradient: str, kernel: str, size: str, where: Grid, group: int) -> str:
    """The gradient of a convolution's input [batch, in, *size] from that of its output [batch, out, h, w].

    ``kernel`` is TensorFlow's filter [h, w, in, out], or [h, w, in, multiplier] where each of ``group`` channels is
    convolved on its own. With steps of one it is a convolution again, by the filter turned around, which runtimes do
    fastest. Otherwise the transposed convolution is cut at the padding, which depends on the size.
    """
    if where.strides == [1, 1]:
        turned = write("Transpose", kernel, perm=[2, 3, 0, 1])
        back = [write.constant(np.array(values, np.int64)) for values in ([-1, -1], [-(2**62)] * 2, [2, 3], [-1, -1])]
        before = [(reach - 1) // 2 if where.same else 0 for reach in where.reach]
        after = [reach - 1 - pad if where.same else 0 for reach, pad in zip(where.reach, before, strict=True)]
        pads = [reach - 1 - pad for pads in (before, after) for reach, pad in zip(where.reach, pads, strict=True)]
        weights = write("Slice", turned, *back)
        return write("Conv", gradient, weights, pads=pads, dilations=where.dilations, group=group)
    weights = (
        write(
            "Reshape", write("Transpose", kernel, perm=[2, 3, 0, 1]), write.constant(np.array([-1, 1, *where.kernel]))
        )
        if group > 1
        else write("Transpose", kernel, perm=[3, 2, 0, 1])
    )
    full = write(
        "ConvTranspose",
        gradient,
        weights,
        strides=where.strides,
        dilations=where.dilations,
        output_padding=[step - 1 for step in where.strides],  # rows that no window reached
        group=group,
    )
    start = write.constant(np.zeros(2, np.int64))
    if where.same:
        steps = write("Slice", write.shape_of(gradient), write.constant(np.array([2])), write.constant(np.array([4])))
        less = write("Sub", steps, write.constant(np.ones(2, np.int64)))
        span = write("Mul", less, write.constant(np.array(where.strides, np.int64)))
        total = write("Sub", write("Add", span, write.constant(np.array(where.reach, np.int64))), size)
        start = write("Div", write("Max", total, start), write.constant(np.array([2, 2], np.int64)))
    return write("Slice", full, start, write("Add", start, size), write.constant(np.array([2, 3], np.int64)))

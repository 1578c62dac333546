# ruff: noqa: TID253
"""Backward: how handlers of gradients write ONNX nodes, and the convolution run backwards that several of them need.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils


class NodeWriter:
    """Adds nodes to tf2onnx's graph; a call returns the name of the new node's output."""

    def __init__(self, context: Any, name: str) -> None:
        self._context, self._name = context, name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.multi_output(operator, list(inputs), 1, **attributes)[0]

    def multi_output(self, operator: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
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

    def constant_value(self, tensor: str) -> np.ndarray:
        """A constant's value."""
        return np.asarray(self._context.get_tensor_value(tensor, as_list=False))

    def known_shape(self, tensor: str) -> list[int]:
        """What is known of a tensor's shape; -1 is a size that each call chooses."""
        shape = self._context.get_shape(tensor)
        utils.make_sure(shape is not None, "the rank of %s is not known", tensor)
        return list(shape)

    def shape_tensor(self, tensor: str) -> str:
        """A tensor's shape as int64 numbers in the graph."""
        return self("Shape", tensor)

    def as_int64(self, tensor: str) -> str:
        """The same numbers as int64."""
        return self("Cast", tensor, to=TensorProto.INT64)

    def height_width(self, sizes: str) -> str:
        """Height and width, int64 [2], out of the numbers of batch, height, width and channels."""
        first, third = self.constant(np.array([1], np.int64)), self.constant(np.array([3], np.int64))
        return self("Slice", self.as_int64(sizes), first, third)

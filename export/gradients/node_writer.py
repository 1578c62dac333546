# ruff: noqa: TID253
"""Add ONNX nodes to the graph that tf2onnx is converting; the handlers of operators use it.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import constants, utils


class NodeWriter:
    """Adds nodes to tf2onnx's graph. A call adds one node and returns the name of its output."""

    def __init__(self, context: Any, name: str) -> None:
        """``context`` is tf2onnx's graph; the new nodes get names that begin with ``name``."""
        self._context, self._name = context, name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.multi_output(operator, list(inputs), 1, **attributes)[0]

    def multi_output(
        self, operator: str, inputs: list[str], count: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with ``count`` outputs and return their names."""
        node = self._context.make_node(
            operator,
            inputs,
            attr=attributes,
            output_count=count,
            name=utils.make_name(f"{self._name}/{operator}"),
            domain=domain or constants.ONNX_DOMAIN,
        )
        return list(node.output)

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Add a constant and return its name."""
        name = utils.make_name(f"{self._name}/constant")
        return str(self._context.make_const(name, np.asarray(value)).output[0])

    def is_constant(self, tensor: str) -> bool:
        """Whether the tensor is a constant."""
        return bool(self._context.is_const(tensor))

    def constant_value(self, tensor: str) -> np.ndarray:
        """Return the value of a constant."""
        return np.asarray(self._context.get_tensor_value(tensor, as_list=False))

    def dtype(self, tensor: str) -> int:
        """ONNX's number of the tensor's element type."""
        return int(self._context.get_dtype(tensor))

    def readers(self, tensor: str) -> list[Any]:
        """The nodes that read the tensor."""
        return list(self._context.find_output_consumers(tensor))

    def known_shape(self, tensor: str) -> list[int]:
        """Return the tensor's shape as far as it is known; -1 is a free axis.

        tf2onnx's own error is raised where not even the rank is known.
        """
        shape = self._context.get_shape(tensor)
        utils.make_sure(shape is not None, "the rank of %s is not known", tensor)
        return list(shape)

    def shape_tensor(self, tensor: str) -> str:
        """Add a node that gives the tensor's shape (int64) when the graph runs."""
        return self("Shape", tensor)

    def as_int64(self, tensor: str) -> str:
        """Add a cast to int64."""
        return self("Cast", tensor, to=TensorProto.INT64)

    def height_width(self, sizes: str) -> str:
        """Add nodes that pick height and width, int64 [2], from the numbers (batch, height, width, channels)."""
        first, third = self.constant(np.array([1], np.int64)), self.constant(np.array([3], np.int64))
        return self("Slice", self.as_int64(sizes), first, third)

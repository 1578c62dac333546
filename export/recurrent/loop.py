# ruff: noqa: TID253
"""Analyse one ``Loop`` of an ONNX graph: the sequences it reads, the tensors it carries, and its number of steps.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from export.recurrent.interpreter import SymbolicInterpreter, evaluate_constants
from export.recurrent.symbolic import UnsupportedLoopError

#: Operators that select parts of a tensor's shape without changing the numbers.
_SHAPE_OPERATORS = {"Cast", "Identity", "Slice", "Squeeze", "Unsqueeze", "Gather", "Reshape"}


class Loop:
    """The meaning of a loop's inputs, outputs and body.

    A tensor that it carries from step to step is a *counter* (incremented by one in each step), *fixed* (never
    changed), or a *state*.
    """

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        """``graph`` contains ``node``; its shapes must have been inferred as far as possible."""
        self.name = node.name or node.output[0]
        self._node = node
        self._body = next(a.g for a in node.attribute if a.name == "body")
        self._producers = {tensor: producer for producer in graph.node for tensor in producer.output}
        self._body_producers = {tensor: producer for producer in self._body.node for tensor in producer.output}
        self._constants = {tensor.name: tensor for tensor in (*graph.initializer, *self._body.initializer)}
        self._types = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
        self._read = names_read(graph)
        #: The carried tensors by their names in the body: the tensor with the first value, and the one with the next.
        self.starts = dict(zip((value.name for value in self._body.input[2:]), node.input[2:], strict=True))
        given = [value.name for value in self._body.output[1:]]
        self.updates = dict(zip(self.starts, given[: len(self.starts)], strict=True))
        #: The tensors of which the loop collects the values of all steps (scan outputs).
        self.scanned = given[len(self.starts) :]
        self.fixed = {name for name in self.starts if self._origin(self.updates[name]) == name}
        self.counters = {name for name in self.starts if self._is_counter(name)}
        self.states = [name for name in self.starts if name not in self.counters | self.fixed]

    def outputs(self) -> Iterator[tuple[str, str]]:
        """The outputs of the loop that are read, each after the name of the carried or scanned tensor in the body."""
        pairs = zip([*self.starts, *self.scanned], self._node.output, strict=True)
        return ((inner, outer) for inner, outer in pairs if outer in self._read)

    def sequences(self) -> dict[str, list[str]]:
        """The sequences [time, …] outside the loop, with the names of the tensors in the body that hold one step each.

        Raises:
            UnsupportedLoopError: the number of steps is not always the length of the sequence.
        """
        found: dict[str, list[str]] = {}
        for read in self._body.node:
            if read.op_type == "Gather" and self._is_step_number(read.input[1]):
                if any(a.name == "axis" and a.i for a in read.attribute):
                    raise UnsupportedLoopError("the time axis is not the first axis")
                found.setdefault(self._outer(read.input[0]), []).append(read.output[0])
        limits = self._compared_lengths(self._body.output[0].name)
        for tensor in self._node.input[:2]:
            limits |= (
                set()
                if not tensor
                else {self._length_of(tensor)}
                if tensor == self._node.input[0]
                else self._compared_lengths(tensor)
            )
        lengths = {self._axis(sequence, 0) for sequence in found}
        if not lengths or limits - lengths or len(lengths) > 1:
            raise UnsupportedLoopError(f"the number of steps is {limits}, the length of the sequences {lengths}")
        return found

    def interpreter(self) -> SymbolicInterpreter:
        """Return an interpreter of the body's tensors."""
        return SymbolicInterpreter(self._body_producers, self.constant)

    def is_mask(self, sequence: str) -> bool:
        """Whether a sequence is a mask, which says for each step whether it is used: bool [time, batch, 1]."""
        type_ = self._types.get(sequence)
        return bool(type_ and type_.elem_type == onnx.TensorProto.BOOL and self._axis(sequence, 2) == 1)

    def size(self, tensor: str, axis: int) -> int:
        """The length of an axis of a float32 tensor outside the loop.

        Raises:
            UnsupportedLoopError: the axis is free or unknown, or the tensor is not float32.
        """
        size = self._axis(tensor, axis)
        if not isinstance(size, int) or self._types[tensor].elem_type != onnx.TensorProto.FLOAT:
            raise UnsupportedLoopError(f"{tensor} is not a float32 tensor of known size")
        return size

    def state_size(self, name: str) -> int:
        """The size n of a state [batch, n]."""
        shape = next(value.type.tensor_type.shape.dim for value in self._body.input if value.name == name)
        return shape[1].dim_value if len(shape) == 2 and shape[1].dim_value else self.size(self.starts[name], 1)

    def starts_at_zero(self, name: str) -> bool:
        """Whether all values of a carried tensor are 0 before the first step."""
        value = self.constant(self.starts[name])
        return value is not None and not value.any()

    def steps(self, sequence: str, size: int) -> list[int | str | None]:
        """The shape of an output sequence that is as long as ``sequence`` and has ``size`` elements per step."""
        dims = list(self._types[sequence].shape.dim)[:2]
        return [dim.dim_param or dim.dim_value or None for dim in dims] + [size]

    def constant(self, tensor: str) -> np.ndarray | None:
        """Return a tensor's value if it is the same in every call and step, else None.

        Of a number that is expanded to some shape, only the number is returned.
        """
        tensor = self.starts[tensor] if tensor in self.fixed else tensor
        if tensor in self._constants:
            return numpy_helper.to_array(self._constants[tensor])
        producer = self._body_producers.get(tensor) or self._producers.get(tensor)
        if producer is None or producer.op_type in ("Loop", "If", "Scan", "Shape"):
            return None
        if producer.op_type == "ConstantOfShape":
            given = [numpy_helper.to_array(a.t) for a in producer.attribute if a.name == "value"]
            return given[0].reshape(()) if given else np.zeros((), np.float32)
        if producer.op_type == "Expand":
            value = self.constant(producer.input[0])
            return value.reshape(()) if value is not None and value.size == 1 else None
        inputs = []
        for name in filter(None, producer.input):
            value = self.constant(name)
            if value is None:
                return None
            inputs.append(value)
        try:
            return evaluate_constants(producer, inputs)[list(producer.output).index(tensor)]
        except UnsupportedLoopError:
            return None

    def _is_counter(self, name: str) -> bool:
        """Whether a carried number starts at 0 and is incremented by one in each step."""
        update = self._body_producers.get(self._origin(self.updates[name]))
        if update is None or update.op_type != "Add" or name not in map(self._origin, update.input):
            return False
        one = [value for tensor in update.input if (value := self.constant(tensor)) is not None]
        start = self.constant(self.starts[name])
        return (
            len(one) == 1 and one[0].size == 1 and one[0] == 1 and start is not None and start.size == 1 and start == 0
        )

    def _compared_lengths(self, condition: str) -> set[object]:
        """The lengths that the loop's condition compares the step number with."""
        value = self.constant(condition)
        if value is not None:
            return set() if value.all() else {"never"}
        producer = self._body_producers.get(condition) or self._producers.get(condition)
        if producer is None:
            return set() if condition == self._body.input[1].name else {condition}
        if producer.op_type in ("And", "Identity", "Cast"):
            return set().union(*map(self._compared_lengths, producer.input))
        if producer.op_type == "Less" and self._is_step_number(producer.input[0]):
            return {self._length_of(producer.input[1])}
        return {condition}

    def _is_step_number(self, tensor: str) -> bool:
        """Whether a tensor is the number of this step or of the next one, or the constant 0."""
        value = self.constant(tensor)
        if value is not None:
            return bool(value.size == 1 and value == 0)
        origin, numbers = self._origin(tensor), {self._body.input[0].name, *self.counters}
        return origin in numbers or origin in {self._origin(self.updates[name]) for name in self.counters}

    def _length_of(self, tensor: str) -> object:
        """What a number stands for: the length of a tensor's axis (see ``_axis``), or a constant."""
        tensor = self._outer(tensor)
        value = self.constant(tensor)
        if value is not None:
            return int(value.item()) if value.size == 1 else "many"
        chain: list[onnx.NodeProto] = []
        while (producer := self._producers.get(tensor)) is not None and producer.op_type in _SHAPE_OPERATORS:
            chain.insert(0, producer)
            tensor = producer.input[0]
        if producer is None or producer.op_type != "Shape" or producer.input[0] not in self._types:
            return tensor
        place = np.arange(len(self._types[producer.input[0]].shape.dim))  # indices of the axes: shows which one is used
        for node in chain:
            if node.op_type not in ("Cast", "Identity"):
                rest = [self.constant(name) for name in node.input[1:] if name]
                known = [value for value in rest if value is not None]
                if len(known) < len(rest):
                    return tensor
                (place,) = evaluate_constants(node, [place, *known])
        return self._axis(producer.input[0], int(place.item())) if place.size == 1 else tensor

    def _axis(self, tensor: str, axis: int) -> object:
        """The length of an axis: a number, the name of a free axis, or (tensor, axis) where neither is known."""
        dims = self._types[tensor].shape.dim if tensor in self._types else ()
        if axis < len(dims) and dims[axis].WhichOneof("value"):
            return dims[axis].dim_param or dims[axis].dim_value
        return (tensor, axis)

    def _origin(self, tensor: str) -> str:
        """Follow a tensor of the body back through nodes that do not change its values."""
        while (producer := self._body_producers.get(tensor)) is not None and producer.op_type in ("Identity", "Cast"):
            tensor = producer.input[0]
        return tensor

    def _outer(self, tensor: str) -> str:
        """Return the tensor outside the loop that a tensor of the body equals, if it is passed in unchanged."""
        origin = self._origin(tensor)
        return self.starts.get(origin, origin) if origin in self.fixed else origin


def names_read(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all tensors that are read: by a graph's nodes, by their bodies, or as its outputs."""
    bodies = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    read = {value.name for value in graph.output} | {tensor for node in graph.node for tensor in node.input}
    return read.union(*map(names_read, bodies))

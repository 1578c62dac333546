# ruff: noqa: TID253
"""Recurrent: the loops of an ONNX graph that run over time, each replaced by one ``RNN``, ``GRU`` or ``LSTM``.

TensorFlow writes most recurrent layers as a loop of small operators, and so does its converter; at batch 1 a loop is
many times slower than the operator that ONNX has for it. What a loop computes is read from its body
(``export/formula.py``) and compared with the equations of the three cells (``export/cells.py``); the weights are those
that it read. It needs no Keras, no layer and no name: anyone's SavedModel gets the same. A loop that is anything else,
such as one that skips masked steps, stays as it was.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.cells import Cell, Symbols, recognise
from export.formula import ACTIVATIONS, LINEAR, Atom, Formula, Reader, Unreadable, evaluate

#: Operators of which a loop's condition and number of steps may be made: they choose no step by its values.
_COUNTING = {"Cast", "Identity", "Less", "And", "Add"}
_READING = {"Cast", "Identity", "Slice", "Squeeze", "Unsqueeze", "Gather", "Reshape"}


class _Fused(NamedTuple):
    """What stands in a loop's place."""

    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]


def fuse(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with one operator for each recurrent loop; one without such loops is returned as it came."""
    left = [node.name for node in proto.graph.node if node.op_type == "Loop"]
    if not left:
        return proto
    fused = onnx.ModelProto()
    fused.CopyFrom(proto)
    for name in left:  # what stands in one loop's place tells the shapes of the next one's input
        inferred = onnx.shape_inference.infer_shapes(fused, data_prop=True)
        position = next(i for i, node in enumerate(fused.graph.node) if node.name == name)
        try:
            replacement = _Loop(inferred.graph, fused.graph.node[position]).fused()
        except Unreadable:
            continue
        nodes = [*fused.graph.node[:position], *replacement.nodes, *fused.graph.node[position + 1 :]]
        del fused.graph.node[:]
        fused.graph.node.extend(nodes)
        fused.graph.initializer.extend(replacement.weights)
    _prune(fused.graph)
    return fused


class _Loop:
    """One loop of a graph: its steps' input, its states, what it reads and what it gives."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        self._graph, self._node = graph, node
        self._body = next(a.g for a in node.attribute if a.name == "body")
        self._makers = {tensor: maker for maker in graph.node for tensor in maker.output}
        self._inner = {tensor: maker for maker in self._body.node for tensor in maker.output}
        self._constants = {tensor.name: tensor for tensor in (*graph.initializer, *self._body.initializer)}
        values = (*graph.input, *graph.value_info, *graph.output)
        self._shapes = {value.name: list(value.type.tensor_type.shape.dim) for value in values}
        #: The body's inputs after the number of the step and the condition, with the tensors they start from …
        self._carried = dict(zip((value.name for value in self._body.input[2:]), node.input[2:], strict=True))
        #: … and what becomes of them.
        updates = [value.name for value in self._body.output[1:]]
        self._updates = dict(zip(self._carried, updates[: len(self._carried)], strict=True))
        self._scanned = updates[len(self._carried) :]

    def fused(self) -> _Fused:
        """
        Raises:
            Unreadable: the loop is no recurrent cell.
        """
        counters = {name for name in self._carried if self._counts(name)} | {self._body.input[0].name}
        fixed = {name for name in self._carried if self._origin(self._updates[name]) == name}
        states = [name for name in self._carried if name not in counters | fixed]
        sequence, steps = self._sequence(counters)
        self._check_length(sequence, counters)
        reader = Reader(self._inner, lambda tensor: self._constant(tensor, fixed))
        atoms = {name: Atom(f" {i}", None) for i, name in enumerate([*steps, *states])}
        x = Atom(" x")
        for step in steps:
            reader.know(step, Formula.of(x, self._size(sequence)))
        for state in states:
            reader.know(state, Formula.of(atoms[state], self._state_size(state)))
        updates = tuple(reader.formula(self._updates[state]) for state in states)
        symbols = Symbols(x, tuple(atoms[state] for state in states))
        cell = recognise(symbols, updates, self._size(sequence))
        new_h = updates[cell.h]
        if not all(reader.formula(scanned).same(new_h) for scanned in self._scanned):
            raise Unreadable("it gives something else than its state")
        return self._build(cell, sequence, states, fixed)

    def _counts(self, name: str) -> bool:
        """Whether a carried number starts at 0 and is one more after each step."""
        update = self._inner.get(self._origin(self._updates[name]))
        if update is None or update.op_type != "Add":
            return False
        one = [value for tensor in update.input if (value := self._constant(tensor, set())) is not None]
        start = self._constant(self._carried[name], set())
        return name in map(self._origin, update.input) and len(one) == 1 and one[0].size == 1 and one[0] == 1 and (
            start is not None and start.size == 1 and start == 0
        )

    def _sequence(self, counters: set[str]) -> tuple[str, list[str]]:
        """The tensor [time, batch, n] whose steps are read one after the other, and those steps' names in the body."""
        reads = [n for n in self._body.node if n.op_type == "Gather" and self._origin(n.input[1]) in counters]
        outside = {self._outer(read.input[0]) for read in reads}
        axes = {a.i for read in reads for a in read.attribute if a.name == "axis"}
        if len(outside) != 1 or axes - {0}:
            raise Unreadable("it does not read one sequence")
        return outside.pop(), [read.output[0] for read in reads]

    def _check_length(self, sequence: str, counters: set[str]) -> None:
        """Every step of the sequence must be run, whatever the values of the tensors are.

        Raises:
            Unreadable: the loop may end earlier, or that cannot be told.
        """
        expected = self._axis(sequence, 0)
        limits = {self._length(self._node.input[0])} if self._node.input[0] else set()
        limits |= self._limits(self._body.output[0].name, counters)
        if self._node.input[1]:
            limits |= self._limits(self._node.input[1], counters)
        if limits != {expected}:
            raise Unreadable(f"it runs {limits} steps of {expected}")

    def _limits(self, condition: str, counters: set[str]) -> set[object]:
        """The lengths that a condition compares the number of the step with."""
        value = self._constant(condition, set())
        if value is not None:
            return set() if value.all() else {"never"}
        maker = self._inner.get(condition) or self._makers.get(condition)
        if maker is None:
            return set() if condition == self._body.input[1].name else {condition}
        if maker.op_type in ("And", "Identity", "Cast"):
            return set().union(*(self._limits(tensor, counters) for tensor in maker.input))
        if maker.op_type == "Less" and self._counted(maker.input[0], counters):
            return {self._length(maker.input[1])}
        return {condition}

    def _counted(self, tensor: str, counters: set[str]) -> bool:
        """Whether a tensor is the number of the step, of the next one, or nought before the first."""
        value = self._constant(tensor, set())
        if value is not None:
            return bool(value.size == 1 and value == 0)
        origin = self._origin(tensor)
        return origin in counters or any(origin == self._origin(self._updates[c]) for c in counters & {*self._updates})

    def _length(self, tensor: str) -> object:
        """What a number is: an axis of a tensor, or a constant."""
        tensor = self._outer(tensor)
        value = self._constant(tensor, set())
        if value is not None:
            return int(value.item()) if value.size == 1 else "many"
        chain: list[onnx.NodeProto] = []
        while (maker := self._makers.get(tensor)) is not None and maker.op_type in _READING:
            chain.insert(0, maker)
            tensor = maker.input[0]
        if maker is None or maker.op_type != "Shape":
            return tensor
        place = np.arange(len(self._shapes.get(maker.input[0], [])))  # the shape's elements, numbered
        for node in chain:
            rest = [self._constant(name, set()) for name in node.input[1:] if name]
            if node.op_type in ("Cast", "Identity"):
                continue
            if any(value is None for value in rest):
                return tensor
            (place,) = evaluate(node, [place, *rest])  # type: ignore[list-item]
        return self._axis(maker.input[0], int(place.item())) if place.size == 1 else tensor

    def _axis(self, tensor: str, axis: int) -> object:
        """The length of an axis: a number, the name that the graph gives it, or at least where it stands."""
        dims = self._shapes.get(tensor, [])
        if axis < len(dims) and dims[axis].WhichOneof("value"):
            return dims[axis].dim_param or dims[axis].dim_value
        return (tensor, axis)

    def _size(self, tensor: str) -> int:
        """n of a sequence [time, batch, n]."""
        size = self._axis(tensor, 2)
        if not isinstance(size, int):
            raise Unreadable("inputs of unknown size")
        return size

    def _state_size(self, name: str) -> int:
        """n of a state [batch, n]."""
        shapes = {value.name: value.type.tensor_type.shape.dim for value in self._body.input}
        size = shapes[name][1].dim_value if len(shapes[name]) == 2 else 0
        start = self._axis(self._carried[name], 1)
        if not size and not isinstance(start, int):
            raise Unreadable("a state of unknown size")
        return size or int(start)  # type: ignore[call-overload]

    def _origin(self, tensor: str) -> str:
        """Where a tensor of the body comes from, through what leaves values as they are."""
        while (maker := self._inner.get(tensor)) is not None and maker.op_type in ("Identity", "Cast"):
            tensor = maker.input[0]
        return tensor

    def _outer(self, tensor: str) -> str:
        """The tensor outside that a tensor of the body is, if it passes through unchanged."""
        tensor = self._origin(tensor)
        return self._carried.get(tensor, tensor) if self._origin(self._updates.get(tensor, "")) == tensor else tensor

    def _constant(self, tensor: str, fixed: set[str]) -> np.ndarray | None:
        """A tensor's value, if it is the same in every call."""
        if tensor in fixed:
            tensor = self._carried[tensor]
        if tensor in self._constants:
            return numpy_helper.to_array(self._constants[tensor])
        maker = self._inner.get(tensor) or self._makers.get(tensor)
        if maker is None or maker.op_type in ("Loop", "If", "Scan", "Shape"):
            return None
        inputs = [self._constant(name, fixed) for name in maker.input if name]
        if any(value is None for value in inputs):
            return None
        try:
            values = evaluate(maker, inputs)  # type: ignore[arg-type]
        except Unreadable:
            return None
        return values[list(maker.output).index(tensor)]

    def _build(self, cell: Cell, sequence: str, states: list[str], fixed: set[str]) -> _Fused:
        """The operator, and what turns its outputs into those of the loop."""
        base = self._node.name or self._node.output[0]
        arrays = dict(zip("WRB", cell.weights(), strict=True))
        weights = [numpy_helper.from_array(array, f"{base}/{name}") for name, array in arrays.items()]
        first, second = (numpy_helper.from_array(np.array([axis]), f"{base}/axis_{axis}") for axis in (0, 1))
        h, *c = [states[cell.h], *(state for i, state in enumerate(states) if i != cell.h)]
        starts, nodes = [], []
        for state, name in zip((h, *c), ("initial_h", "initial_c"), strict=False):
            starts.append(f"{base}/{name}")
            nodes.append(helper.make_node("Unsqueeze", [self._carried[state], first.name], [starts[-1]]))
        outputs = [f"{base}/Y", f"{base}/Y_h", *(f"{base}/Y_c" for _ in c)]
        attributes = _activations(cell)
        if cell.operator == "GRU":
            attributes["linear_before_reset"] = int(cell.reset_after)
        inputs = [sequence, *(weight.name for weight in weights), "", *starts]
        units = cell.gates[0].w.shape[1]
        nodes.append(helper.make_node(cell.operator, inputs, outputs, name=base, hidden_size=units, **attributes))
        final = dict(zip((h, *c), outputs[1:], strict=True))
        read = _read(self._graph)
        for name, given in zip([*self._carried, *self._scanned], self._node.output, strict=True):
            if given not in read:
                continue
            if name in final:
                nodes.append(helper.make_node("Squeeze", [final[name], first.name], [given]))
            elif name in fixed:
                nodes.append(helper.make_node("Identity", [self._carried[name]], [given]))
            elif name in self._carried:
                raise Unreadable("the number of steps is read")
            else:
                nodes.append(helper.make_node("Squeeze", [outputs[0], second.name], [given]))
        return _Fused(nodes, [*weights, first, second])


def _activations(cell: Cell) -> dict[str, object]:
    """ONNX's attributes of the activations; it lists alpha and beta for those alone that have one."""
    names = [name for name, _, _ in cell.activations]
    takes = {name: set(settings) for name, settings in ACTIVATIONS.items()} | {LINEAR[0]: {"alpha", "beta"}}
    alpha = [a for name, a, _ in cell.activations if "alpha" in takes[name]]
    beta = [b for name, _, b in cell.activations if "beta" in takes[name]]
    found: dict[str, object] = {"activations": names}
    return found | ({"activation_alpha": alpha} if alpha else {}) | ({"activation_beta": beta} if beta else {})


def _prune(graph: onnx.GraphProto) -> None:
    """Remove what nothing reads any more."""
    while True:
        read = _read(graph)
        dead = [node for node in graph.node if not read & {*node.output}]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    for value in [value for value in graph.value_info if value.name not in read]:
        graph.value_info.remove(value)


def _read(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a graph's nodes, those of their bodies, or its callers read."""
    return {value.name for value in graph.output} | {*_inputs(graph)}


def _inputs(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _read(attribute.g)

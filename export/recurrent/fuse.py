# ruff: noqa: TID253
"""Replace the loops of an ONNX graph that are recurrent layers, each by one operator ``RNN``, ``GRU`` or ``LSTM``.

TensorFlow writes most recurrent layers as a loop of small operators, and so does tf2onnx. At batch size 1 a loop is
many times slower than ONNX's own operator. The computation of a loop is read from its body (``loop.py``,
``interpreter.py``, ``symbolic.py``) and compared with the equations of the three cells (``cells.py``), which also gives
the weights. No layer or variable names are needed, so it works for any SavedModel. All other loops stay unchanged.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.recurrent.cells import Cell, StepInputs, match_cell
from export.recurrent.loop import Loop, names_read
from export.recurrent.symbolic import ACTIVATIONS, LINEAR, Atom, Formula, UnsupportedLoopError

#: The mask: 1 for steps that are used, 0 for steps that are masked (skipped).
_MASK = Atom(" mask")


class _RecurrentLayer(NamedTuple):
    """The recurrent layer that a loop computes."""

    cell: Cell
    #: The input sequence outside the loop, float32 [time, batch, inputs].
    sequence: str
    #: The mask outside the loop, bool [time, batch, 1], or None.
    mask: str | None
    #: The carried tensors h and, for an LSTM, c.
    states: list[str]
    #: The output of a masked step repeats the last unmasked one; before the first unmasked step it is the initial value
    #: of this carried tensor. None: masked steps give zeros.
    echo: str | None


def fuse_recurrent_loops(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with each recurrent loop replaced by one operator; without loops, return ``proto`` itself."""
    loops = [node.output[0] for node in proto.graph.node if node.op_type == "Loop"]
    if not loops:
        return proto
    fused = onnx.ModelProto()
    fused.CopyFrom(proto)
    del fused.graph.value_info[:]  # the converter gives the same free axis another name in each loop
    for output in loops:  # in this order: the operator that replaces one loop gives the shape of the next one's input
        inferred = onnx.shape_inference.infer_shapes(fused, data_prop=True)
        position = next(i for i, node in enumerate(fused.graph.node) if output in node.output)
        loop = Loop(inferred.graph, fused.graph.node[position])
        try:
            nodes, constants, shapes = _OperatorWriter(loop, _match_layer(loop)).write()
        except UnsupportedLoopError:
            continue
        nodes = [*fused.graph.node[:position], *nodes, *fused.graph.node[position + 1 :]]
        del fused.graph.node[:]
        fused.graph.node.extend(nodes)
        fused.graph.initializer.extend(constants)
        fused.graph.value_info.extend(shapes)
    _remove_unused(fused.graph)
    return fused


def _match_layer(loop: Loop) -> _RecurrentLayer:
    """Return the recurrent layer that a loop computes.

    Raises:
        UnsupportedLoopError: the loop is not a recurrent layer.
    """
    sequences = loop.sequences()
    masks = [name for name in sequences if loop.is_mask(name)]
    inputs = [name for name in sequences if name not in masks]
    if len(masks) > 1 or len(inputs) != 1:
        raise UnsupportedLoopError("it does not read exactly one sequence and at most one mask")
    x, size = Atom(" x"), loop.size(inputs[0], 2)
    atoms = {name: Atom(f" {number}") for number, name in enumerate(loop.states)}
    interpreter = loop.interpreter()
    for names, formula in ((masks, Formula.from_atom(_MASK, 1)), (inputs, Formula.from_atom(x, size))):
        for step in (step for name in names for step in sequences[name]):
            interpreter.bind(step, formula)
    states = {name: Formula.from_atom(atom, loop.state_size(name)) for name, atom in atoms.items()}
    for name, formula in states.items():
        interpreter.bind(name, formula)
    updates = {name: interpreter.formula(loop.updates[name]) for name in loop.states}
    unmasked = {name: update.substitute(_MASK, 1) for name, update in updates.items()}
    masked = {name: update.substitute(_MASK, 0) for name, update in updates.items()}
    used = set().union(*(update.atoms() for update in unmasked.values()))
    carried = [name for name in loop.states if not masks or atoms[name] in used]
    cell = match_cell(
        StepInputs(x, tuple(atoms[name] for name in carried)), tuple(unmasked[name] for name in carried), size
    )
    if masks and not all(masked[name].equals(states[name]) for name in carried):
        raise UnsupportedLoopError("a masked step changes a state")
    h = carried.pop(cell.h)
    echoing = {
        h,
        *(name for name in loop.states if masked[name].equals(states[name]) and unmasked[name].equals(unmasked[h])),
    }
    echoes: set[str | None] = set()
    for scanned in map(interpreter.formula, loop.scanned):
        held = scanned.substitute(_MASK, 0)
        echoes.add(next((name for name in echoing if held.equals(states[name])), None))
        if masks and None in echoes and (held.terms or held.constant.any()):
            raise UnsupportedLoopError("a masked step has another output than zeros or the previous output")
        if not scanned.substitute(_MASK, 1).equals(unmasked[h]):
            raise UnsupportedLoopError("the output of a step is not the state h")
    if len(echoes) > 1:
        raise UnsupportedLoopError("its outputs treat masked steps in different ways")
    return _RecurrentLayer(cell, inputs[0], next(iter(masks), None), [h, *carried], next(iter(echoes), None))


class _OperatorWriter:
    """Writes the nodes that replace a loop."""

    def __init__(self, loop: Loop, layer: _RecurrentLayer) -> None:
        self._loop, self._layer = loop, layer
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def write(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], list[onnx.ValueInfoProto]]:
        """Return the nodes in order, their constants, and the shapes of their output sequences.

        Raises:
            UnsupportedLoopError: an output of the loop is read that the operator does not have.
        """
        loop, layer, cell = self._loop, self._layer, self._layer.cell
        sequence, lengths = layer.sequence, ""
        if layer.mask:
            sequence, lengths = self._compact_steps(layer.mask)
        weights = [self._constant(name, array) for name, array in zip("WRB", cell.weights(), strict=True)]
        starts = ["" if loop.starts_at_zero(name) else self._initial_state(name) for name in layer.states]
        outputs = [f"{loop.name}/{name}" for name in ("Y", "Y_h", "Y_c")[: 1 + len(starts)]]
        inputs = [sequence, *weights, lengths, *starts]
        while not inputs[-1]:
            inputs.pop()
        self._nodes.append(
            helper.make_node(cell.operator, inputs, outputs, name=loop.name, **_operator_attributes(cell))
        )
        last, shapes = dict(zip(layer.states, outputs[1:], strict=True)), []
        for inner, outer in loop.outputs():
            if inner in last:
                self._write_final_state(inner, last[inner], outer, lengths)
            elif inner in loop.fixed:
                self._add("Identity", [loop.starts[inner]], output=outer)
            elif inner in loop.starts:
                raise UnsupportedLoopError("a counter of the loop is read")
            else:
                if layer.mask:
                    self._restore_masked_steps(outputs[0], layer.mask, outer)
                else:
                    self._add("Squeeze", [outputs[0], self._axis(1)], output=outer)
                shape = loop.steps(layer.sequence, cell.units)
                shapes.append(helper.make_tensor_value_info(outer, TensorProto.FLOAT, shape))
        return self._nodes, list(self._constants.values()), shapes

    def _compact_steps(self, mask: str) -> tuple[str, str]:
        """Move the unmasked steps of each row to the front; return that sequence and its lengths, int32 [batch]."""
        counts = self._add("Cast", [self._add("Squeeze", [mask, self._axis(2)])], to=TensorProto.INT64)
        steps = self._add("Shape", [counts], start=0, end=1)
        limit = self._add("Squeeze", [steps])
        numbers = self._add("Range", [self._number(0), limit, self._number(1)])
        column = self._add("Unsqueeze", [numbers, self._axis(1)])
        # A different key for each step, larger for unmasked steps and for earlier ones.
        keys = self._add("Sub", [self._add("Mul", [counts, limit]), column])
        ranked = f"{self._loop.name}/order"
        self._nodes.append(helper.make_node("TopK", [keys, steps], [f"{ranked}_keys", ranked], axis=0))
        lengths = self._add("ReduceSum", [counts, self._axis(0)], keepdims=0)
        return self._gather_steps(self._layer.sequence, ranked), self._add("Cast", [lengths], to=TensorProto.INT32)

    def _restore_masked_steps(self, y: str, mask: str, output: str) -> None:
        """Move the outputs back to their steps; a masked step gets the output that ``_RecurrentLayer.echo`` says."""
        counts = self._add("Cast", [self._add("Squeeze", [mask, self._axis(2)])], to=TensorProto.INT64)
        so_far = self._add("CumSum", [counts, self._number(0)])
        place = self._add("Max", [self._add("Sub", [so_far, self._number(1)]), self._number(0)])
        found = self._gather_steps(self._add("Squeeze", [y, self._axis(1)]), place)
        if self._layer.echo is None:
            self._add("Where", [mask, found, self._constant("zero", np.zeros((), np.float32))], output=output)
            return
        begun = self._add("Unsqueeze", [self._add("Greater", [so_far, self._number(0)]), self._axis(2)])
        self._add("Where", [begun, found, self._loop.starts[self._layer.echo]], output=output)

    def _gather_steps(self, tensor: str, order: str) -> str:
        """Reorder the steps of a tensor [time, batch, n] by the indices ``order`` [time, batch]."""
        wide = self._add("Expand", [self._add("Unsqueeze", [order, self._axis(2)]), self._add("Shape", [tensor])])
        return self._add("GatherElements", [tensor, wide], axis=0)

    def _write_final_state(self, state: str, last: str, output: str, lengths: str) -> None:
        """Write a state after the last step; a row whose steps are all masked keeps its initial state."""
        if not lengths or self._loop.starts_at_zero(state):
            self._add("Squeeze", [last, self._axis(0)], output=output)
            return
        some = self._add("Unsqueeze", [self._add("Cast", [lengths], to=TensorProto.BOOL), self._axis(1)])
        found = self._add("Squeeze", [last, self._axis(0)])
        self._add("Where", [some, found, self._loop.starts[state]], output=output)

    def _initial_state(self, state: str) -> str:
        """Return the initial value of a state with the axis of directions: [1, batch, n]."""
        return self._add("Unsqueeze", [self._loop.starts[state], self._axis(0)])

    def _add(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{self._loop.name}/{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, value: np.ndarray) -> str:
        name = f"{self._loop.name}/{name}"
        self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def _axis(self, axis: int) -> str:
        return self._constant(f"axis_{axis}", np.array([axis], np.int64))

    def _number(self, number: int) -> str:
        return self._constant(f"number_{number}", np.array(number, np.int64))


def _operator_attributes(cell: Cell) -> dict[str, Any]:
    """Return the attributes of a cell's operator; alpha and beta are listed only for activations that have them."""
    names = [name for name, _, _ in cell.activations]
    takes = {name: set(settings) for name, settings in ACTIVATIONS.items()} | {LINEAR[0]: {"alpha", "beta"}}
    alpha = [a for name, a, _ in cell.activations if "alpha" in takes[name]]
    beta = [b for name, _, b in cell.activations if "beta" in takes[name]]
    found: dict[str, Any] = {"hidden_size": cell.units, "activations": names}
    if cell.operator == "GRU":
        found["linear_before_reset"] = int(cell.reset_after)
    return found | ({"activation_alpha": alpha} if alpha else {}) | ({"activation_beta": beta} if beta else {})


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants whose outputs are not read any more."""
    del graph.value_info[:]
    while dead := [node for node in graph.node if not names_read(graph) & {*node.output}]:
        for node in dead:
            graph.node.remove(node)
    read = names_read(graph)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)

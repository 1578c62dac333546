"""Match the formulas of one time step with the equations of RNN, GRU and LSTM, and read the weights from them.

Source: the equations of RNN, GRU and LSTM in ONNX's operator documentation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from export.recurrent.symbolic import LINEAR, Activation, Atom, Formula, UnsupportedLoopError


@dataclass(frozen=True)
class StepInputs:
    """The atoms that a time step reads: its input x, and its states (h alone, or h and c in either order)."""

    x: Atom
    states: tuple[Atom, ...]


@dataclass(frozen=True)
class Gate:
    """A gate ``activation(x @ w + h @ r + b)``: w [inputs, units], r [units, units], b and rb [units]."""

    activation: Activation
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray
    #: The bias of ``h @ r``, inside the product with the reset gate; it is zero except in a GRU with ``reset_after``.
    rb: np.ndarray


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: the name of its ONNX operator, its gates in ONNX's order, and their activations."""

    operator: str
    gates: tuple[Gate, ...]
    activations: tuple[Activation, ...]
    #: Position of h among the states; the other state is c.
    h: int = 0
    #: Of a GRU: whether the reset gate is applied after the product with r (ONNX's ``linear_before_reset``).
    reset_after: bool = False

    @property
    def units(self) -> int:
        """Number of elements of a state."""
        return int(self.gates[0].w.shape[1])

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W [1, gates × units, inputs], R [1, gates × units, units], B [1, 2 × gates × units], all float32."""
        w = np.concatenate([gate.w.T for gate in self.gates])
        r = np.concatenate([gate.r.T for gate in self.gates])
        b = np.concatenate([gate.b for gate in self.gates] + [gate.rb for gate in self.gates])
        return w[None].astype(np.float32), r[None].astype(np.float32), b[None].astype(np.float32)


def match_cell(symbols: StepInputs, updates: tuple[Formula, ...], inputs: int) -> Cell:
    """Return the cell that changes its states to ``updates`` in each step; x has ``inputs`` elements.

    Raises:
        UnsupportedLoopError: no ONNX operator computes this.
    """
    tries = (_match_lstm,) if len(symbols.states) == 2 else (_match_rnn, _match_gru) if len(symbols.states) == 1 else ()
    for attempt in tries:
        for cell in attempt(symbols, updates, inputs):
            return cell
    raise UnsupportedLoopError("ONNX has no such recurrent cell")


def _match_rnn(symbols: StepInputs, updates: tuple[Formula, ...], inputs: int) -> Iterator[Cell]:
    (h,) = symbols.states
    gate = _match_gate(_single_atom(updates[0]) or Atom("", LINEAR, updates[0]), symbols.x, h, inputs)
    if gate:
        yield Cell("RNN", (gate,), (gate.activation,))


def _match_gru(symbols: StepInputs, updates: tuple[Formula, ...], inputs: int) -> Iterator[Cell]:
    """Match h' = z h + (1 - z) g, multiplied out."""
    (h,) = symbols.states
    for z, g in itertools.permutations(_direct_atoms(updates[0]) - {h}, 2):
        units = updates[0].size
        expected = _product(units, h, z).plus(_product(units, g)).plus(_product(units, g, z).scaled(np.array(-1.0)))
        if not updates[0].equals(expected):
            continue
        update = _match_gate(z, symbols.x, h, inputs)
        candidate = _match_gru_candidate(g, symbols.x, h, inputs)
        if update and candidate:
            reset, gate, after = candidate
            if reset.activation == update.activation:
                yield Cell("GRU", (update, reset, gate), (update.activation, gate.activation), reset_after=after)


def _match_gru_candidate(g: Atom, x: Atom, h: Atom, inputs: int) -> tuple[Gate, Gate, bool] | None:
    """Match g = f(x W + (r h) R + b) or g = f(x W + r (h R + rb) + b).

    Returns the reset gate r, the gate g, and True for the second equation.
    """
    if g.of is None or g.activation is None:
        return None
    units = g.of.size
    mixed = [product for product in g.of.terms if len(product) == 2]
    if len(mixed) != 1 or g.of.terms.keys() - {(x,), mixed[0]} or (x,) not in g.of.terms:
        return None
    w, coefficient = _as_matrix(g.of.terms[(x,)]), g.of.terms[mixed[0]]
    for r, other in itertools.permutations(mixed[0]):
        reset = _match_gate(r, x, h, inputs)
        if reset is None:
            continue
        if other == h:
            return reset, Gate(g.activation, w, _as_matrix(coefficient), g.of.constant, np.zeros(units)), False
        inner = other.of if other.activation == LINEAR else None
        if inner and inner.terms.keys() == {(h,)} and coefficient.ndim == 1:
            inner = inner.scaled(coefficient)
            return reset, Gate(g.activation, w, _as_matrix(inner.terms[(h,)]), g.of.constant, inner.constant), True
    return None


def _match_lstm(symbols: StepInputs, updates: tuple[Formula, ...], inputs: int) -> Iterator[Cell]:
    """Match c' = f c + i g and h' = o k(c')."""
    for position in (0, 1):
        h, c = symbols.states[position], symbols.states[1 - position]
        new_h, new_c = updates[position], updates[1 - position]
        for f, i, g in itertools.permutations(_direct_atoms(new_c) - {c}, 3):
            expected = _product(new_c.size, c, f).plus(_product(new_c.size, g, i))
            gates = [_match_gate(atom, symbols.x, h, inputs) for atom in (i, f, g)]
            found = _match_lstm_output(new_h, new_c, c)
            if not new_c.equals(expected) or found is None or None in gates:
                continue
            o, k = found
            out = _match_gate(o, symbols.x, h, inputs)
            if not out:
                continue
            into, forget, cell = (gate for gate in gates if gate)
            if into.activation == forget.activation == out.activation:
                yield Cell("LSTM", (into, out, forget, cell), (into.activation, cell.activation, k), position)


def _match_lstm_output(new_h: Formula, new_c: Formula, c: Atom) -> tuple[Atom, Activation] | None:
    """Match h' = o k(c'); return the atom o and the activation k."""
    for o in _direct_atoms(new_h) - {c}:
        rest = {tuple(a for a in product if a != o): factor for product, factor in new_h.terms.items() if o in product}
        if len(rest) != len(new_h.terms) or np.any(new_h.constant):
            continue
        if new_c.equals(Formula(rest, new_h.constant)):
            return o, LINEAR
        k = _single_atom(Formula(rest, new_h.constant))
        if k and k.activation and k.of and (scale := _match_affine(k.of, new_c)):
            name, alpha, beta = k.activation
            if np.allclose(scale, (1, 0), atol=1e-6):
                return o, k.activation
            if name == "HardSigmoid":  # of a multiple of c'
                return o, (name, alpha * scale[0], alpha * scale[1] + beta)
    return None


def _match_affine(formula: Formula, of: Formula) -> tuple[float, float] | None:
    """Match ``formula = s × of + t``; return the numbers s and t."""
    product = next(iter(of.terms))
    if formula.terms.keys() != of.terms.keys():
        return None
    s = float(np.mean(formula.terms[product]))
    t = float(np.mean(formula.constant - s * of.constant))
    scaled = of.scaled(np.array(s)).plus(Formula({}, np.full(of.size, t)))
    return (s, t) if formula.equals(scaled) else None


def _match_gate(atom: Atom, x: Atom, h: Atom, inputs: int) -> Gate | None:
    """Match ``atom`` as an activation of a linear function of x and h."""
    if atom.activation is None or atom.of is None or atom.of.terms.keys() - {(x,), (h,)}:
        return None
    units = atom.of.size
    w = atom.of.terms.get((x,), np.zeros((inputs, units)))
    r = atom.of.terms.get((h,), np.zeros((units, units)))
    if w.ndim == 1 and inputs != units:
        return None
    return Gate(atom.activation, _as_matrix(w), _as_matrix(r), atom.of.constant, np.zeros(units))


def _as_matrix(coefficient: np.ndarray) -> np.ndarray:
    return np.diag(coefficient) if coefficient.ndim == 1 else coefficient


def _direct_atoms(formula: Formula) -> set[Atom]:
    return set(itertools.chain.from_iterable(formula.terms))


def _single_atom(formula: Formula) -> Atom | None:
    """Return the atom if the formula is exactly one activation."""
    for product, coefficient in formula.terms.items():
        alone = (
            len(formula.terms) == len(product) == 1 and coefficient.ndim == 1 and np.allclose(coefficient, 1, atol=1e-6)
        )
        if alone and product[0].activation and np.allclose(formula.constant, 0, atol=1e-6):
            return product[0]
    return None


def _product(size: int, *atoms: Atom) -> Formula:
    """Return the product of atoms that have ``size`` elements each."""
    return Formula({tuple(sorted(atoms, key=lambda atom: atom.name)): np.ones(size)}, np.zeros(size))

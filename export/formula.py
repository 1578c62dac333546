# ruff: noqa: TID253
"""Formula: what the body of a loop computes, worked out symbolically.

A tensor of shape [batch, n] that depends on the loop's ``x``, ``h`` … is held as a polynomial: products of *atoms*, each
with a coefficient, and a constant. An atom is one of the loop's own tensors, an activation of a formula, or a formula
that is too mixed to be multiplied out. However a cell was written – one matrix or four, biases added first or last, gates
split or sliced – equal cells become equal formulas.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

#: ONNX's activations of recurrent operators with the attributes that they take and their defaults.
ACTIVATIONS: dict[str, dict[str, float]] = {
    "Tanh": {},
    "Sigmoid": {},
    "Relu": {},
    "Softplus": {},
    "Softsign": {},
    "Elu": {"alpha": 1.0},
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}

#: An activation's name in ONNX, its alpha and its beta.
Activation = tuple[str, float, float]

LINEAR: Activation = ("Affine", 1.0, 0.0)


class Unreadable(Exception):  # noqa: N818 - no error of a user's
    """A computation that these formulas cannot hold."""


@dataclass(frozen=True)
class Atom:
    """A factor of a formula, the same as another if it has that one's ``name`` (a tensor computed once)."""

    name: str
    activation: Activation | None = field(default=None, compare=False)
    #: What the activation is of.
    of: Formula | None = field(default=None, compare=False, repr=False)


#: A product of atoms, in the order of their names. Its coefficient is [n] where each element stays at its place, or
#: [m, n] where a matrix mixes them.
Product = tuple[Atom, ...]


@dataclass(frozen=True)
class Formula:
    """The sum of ``terms`` and a ``constant`` [n] (float64)."""

    terms: dict[Product, np.ndarray]
    constant: np.ndarray

    @staticmethod
    def of(atom: Atom, size: int) -> Formula:
        """One atom alone."""
        return Formula({(atom,): np.ones(size)}, np.zeros(size))

    @property
    def size(self) -> int:
        """n, the length of the last axis."""
        return len(self.constant)

    @property
    def elementwise(self) -> bool:
        """Whether no matrix mixes the elements."""
        return all(coefficient.ndim == 1 for coefficient in self.terms.values())

    def plus(self, other: Formula) -> Formula:
        """The sum; what cancels out is gone."""
        terms = dict(self.terms)
        for product, coefficient in other.terms.items():
            terms[product] = _sum(terms[product], coefficient) if product in terms else coefficient
        return Formula({p: c for p, c in terms.items() if np.any(c)}, self.constant + other.constant)

    def scaled(self, by: np.ndarray) -> Formula:
        """Every element times a number."""
        return Formula({p: c * by for p, c in self.terms.items()}, self.constant * by)

    def through(self, matrix: np.ndarray) -> Formula:
        """Times a matrix [n, m] from the right."""
        terms = {p: c[:, None] * matrix if c.ndim == 1 else c @ matrix for p, c in self.terms.items()}
        return Formula(terms, self.constant @ matrix)

    def times(self, other: Formula) -> Formula:
        """Element by element, multiplied out; neither may hold a matrix."""
        result = Formula({}, self.constant * other.constant)
        for one, factor in (*self.terms.items(), ((), self.constant)):
            for two, coefficient in (*other.terms.items(), ((), other.constant)):
                product = tuple(sorted(one + two, key=lambda atom: atom.name))
                if product and np.any(factor * coefficient):
                    result = result.plus(Formula({product: factor * coefficient}, np.zeros(self.size)))
        return result

    def same(self, other: Formula) -> bool:
        """Whether two formulas are equal, up to rounding in float32."""
        return self.terms.keys() == other.terms.keys() and all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6)
            for a, b in ((self.constant, other.constant), *((c, other.terms[p]) for p, c in self.terms.items()))
        )


class Reader:
    """Reads a graph's nodes from the known tensors on: constants as arrays, the others as formulas."""

    def __init__(self, nodes: Mapping[str, onnx.NodeProto], constant: Callable[[str], np.ndarray | None]) -> None:
        """``nodes`` by the tensors they give; ``constant`` tells the value of a tensor from outside, or None."""
        self._nodes = nodes
        self._constant = constant
        self._known: dict[str, Formula | np.ndarray] = {}

    def know(self, tensor: str, value: Formula | np.ndarray) -> None:
        """Say what a tensor is."""
        self._known[tensor] = value

    def formula(self, tensor: str) -> Formula:
        """
        Raises:
            Unreadable: it is no formula of what is known.
        """
        value = self._read(tensor)
        if not isinstance(value, Formula):
            raise Unreadable(f"{tensor} depends on nothing")
        return value

    def _read(self, tensor: str) -> Formula | np.ndarray:
        if tensor not in self._known:
            outside = self._constant(tensor)
            if outside is not None:
                self._known[tensor] = outside
            elif tensor in self._nodes:
                self._run(self._nodes[tensor])
            else:
                raise Unreadable(f"{tensor} is not known")
        return self._known[tensor]

    def _run(self, node: onnx.NodeProto) -> None:
        inputs = [self._read(name) for name in node.input if name]
        if not any(isinstance(value, Formula) for value in inputs):
            self._known.update(zip(node.output, evaluate(node, inputs), strict=True))  # type: ignore[arg-type]
            return
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        outputs = self._apply(node, inputs, attributes)
        self._known.update(zip(node.output, outputs, strict=True))

    def _apply(self, node: onnx.NodeProto, inputs: list[Any], attributes: dict[str, Any]) -> list[Formula]:
        kind = node.op_type
        if kind in ("Identity", "Cast"):
            if attributes.get("to", onnx.TensorProto.FLOAT) != onnx.TensorProto.FLOAT:
                raise Unreadable("a cast to another type")
            return [inputs[0]]
        if kind in ACTIVATIONS:
            settings = ACTIVATIONS[kind] | {k: v for k, v in attributes.items() if k in ("alpha", "beta")}
            activation = (kind, settings.get("alpha", 0.0), settings.get("beta", 0.0))
            return [Formula.of(Atom(node.output[0], activation, inputs[0]), inputs[0].size)]
        match kind, *inputs:
            case "Add", a, b:
                return [_broadcast(a, b).plus(_broadcast(b, a))]
            case "Sub", a, b:
                return [_broadcast(a, b).plus(_broadcast(b, a).scaled(np.array(-1.0)))]
            case "Neg", Formula() as a:
                return [a.scaled(np.array(-1.0))]
            case "Mul", Formula() as a, Formula() as b:
                return [_factor(a, node.input[0]).times(_factor(b, node.input[1]))]
            case ("Mul", Formula() as a, np.ndarray() as b) | ("Mul", np.ndarray() as b, Formula() as a):
                return [a.scaled(_row(b, a.size))]
            case "Div", Formula() as a, np.ndarray() as b:
                return [a.scaled(1 / _row(b, a.size))]
            case "MatMul", Formula() as a, np.ndarray() as matrix:
                return [a.through(_matrix(matrix))]
            case "Gemm", Formula() as a, np.ndarray() as matrix, *rest:
                if attributes.get("transA"):
                    raise Unreadable("a transposed input")
                weights = _matrix(matrix.T if attributes.get("transB") else matrix)
                result = a.through(weights).scaled(np.array(attributes.get("alpha", 1.0)))
                for bias in rest:
                    result = result.plus(_broadcast(bias, result).scaled(np.array(attributes.get("beta", 1.0))))
                return [result]
            case "Clip", Formula() as a, np.ndarray() as low, np.ndarray() as high:
                return [_clip(a, float(low), float(high), node.output[0])]
            case "Concat", *parts if attributes["axis"] in (-1, 1):
                return [_joined(parts)]
            case ("Split" | "Slice" | "Gather", Formula() as a, *rest):
                return _parts(node, a, rest)
        raise Unreadable(f"{kind} of {', '.join(type(value).__name__ for value in inputs)}")


def evaluate(node: onnx.NodeProto, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run one node on constants.

    Raises:
        Unreadable: ONNX's reference has no such operator, or it broke.
    """
    names = [name for name in node.input if name]
    try:
        evaluator = ReferenceEvaluator(node, opsets={"": 18})
        return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))
    except Exception as error:  # the reference raises whatever NumPy raises
        raise Unreadable(f"{node.op_type} of constants") from error


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.ndim == b.ndim:
        return np.asarray(a + b)
    return np.asarray((np.diag(a) if a.ndim == 1 else a) + (np.diag(b) if b.ndim == 1 else b))


def _broadcast(value: Formula | np.ndarray, other: Formula | np.ndarray) -> Formula:
    """``value`` as a formula of the size of ``other``."""
    if isinstance(value, Formula):
        if isinstance(other, Formula) and other.size != value.size:
            raise Unreadable("sizes that differ")
        return value
    assert isinstance(other, Formula)  # noqa: S101 - one of the two is
    return Formula({}, _row(value, other.size))


def _row(value: np.ndarray, size: int) -> np.ndarray:
    """A constant as float64 [size]; it must be the same for every row of the batch."""
    if value.size not in (1, size) or (value.ndim > 1 and value.size != value.shape[-1]):
        raise Unreadable("a constant that is not one row")
    return np.broadcast_to(value.astype(np.float64).ravel(), (size,))


def _matrix(value: np.ndarray) -> np.ndarray:
    if value.ndim != 2:
        raise Unreadable("a product with something else than a matrix")
    return value.astype(np.float64)


def _factor(value: Formula, name: str) -> Formula:
    """``value`` itself, or as one atom if a matrix mixes its elements."""
    if value.elementwise:
        return value
    return Formula.of(Atom(name, LINEAR, value), value.size)


def _clip(value: Formula, low: float, high: float, name: str) -> Formula:
    """Keras's ``hard_sigmoid`` is ``clip(x + 3, 0, 6) / 6``: every clip is made of ONNX's one of 0 to 1."""
    if not np.isfinite(high - low) or high <= low:
        raise Unreadable("a clip with one bound")
    width = high - low
    inner = value.plus(Formula({}, np.full(value.size, -low))).scaled(np.array(1 / width))
    atom = Formula.of(Atom(name, ("HardSigmoid", 1.0, 0.0), inner), value.size)
    return atom.scaled(np.array(width)).plus(Formula({}, np.full(value.size, low)))


def _joined(parts: list[Any]) -> Formula:
    if not all(isinstance(part, Formula) for part in parts):
        raise Unreadable("constants among formulas")
    total, at = sum(part.size for part in parts), 0
    result = Formula({}, np.zeros(total))
    for part in parts:
        place = np.zeros((part.size, total))
        place[:, at : at + part.size] = np.eye(part.size)
        result, at = result.plus(part.through(place)), at + part.size
    return result


def _parts(node: onnx.NodeProto, value: Formula, settings: list[np.ndarray]) -> list[Formula]:
    """Pieces of the last axis: the node, run on the numbers of the elements, tells which."""
    numbers = np.arange(value.size)[None]
    found = []
    for chosen in evaluate(node, [numbers, *settings]):
        if chosen.ndim != 2 or chosen.shape[0] != 1:
            raise Unreadable("a cut along the batch")
        found.append(value.through(np.eye(value.size)[:, chosen[0]]))
    return found

"""Formulas: the computation in the body of a loop, as symbolic expressions.

A tensor of shape [batch, n] that depends on the loop's ``x``, ``h`` … is represented by a polynomial: products of
*atoms*, each with a coefficient, and a constant. An atom is one of the loop's own tensors, an activation of a formula,
or a formula that cannot be multiplied out because a matrix mixes its elements. Equal cells give equal formulas, however
they were written: with one matrix or four, with biases added first or last, with gates split or sliced.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

#: Activations that ONNX's recurrent operators accept, with their attributes and default values. ``Softplus`` is left
#: out: within a recurrent operator ONNX Runtime computes log(1 + exp(x)), which overflows for x ≥ 89.
ACTIVATIONS: dict[str, dict[str, float]] = {
    "Tanh": {},
    "Sigmoid": {},
    "Relu": {},
    "Softsign": {},
    "Elu": {"alpha": 1.0},
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}

#: An activation's name in ONNX, its alpha and its beta.
Activation = tuple[str, float, float]

LINEAR: Activation = ("Affine", 1.0, 0.0)


class UnsupportedLoopError(Exception):
    """The loop computes something that these formulas cannot represent or that no recurrent operator does.

    It is never shown to users: such a loop stays in the graph.
    """


@dataclass(frozen=True)
class Atom:
    """A factor of a formula. Atoms are equal if their names are: each name is one tensor, computed once."""

    name: str
    activation: Activation | None = field(default=None, compare=False)
    #: The formula that the activation is applied to.
    of: Formula | None = field(default=None, compare=False, repr=False)


#: A product of atoms, ordered by name. Its coefficient has the shape [n] where it multiplies element by element, or
#: [m, n] where it is a matrix.
Product = tuple[Atom, ...]


@dataclass(frozen=True)
class Formula:
    """The sum of ``terms`` and a ``constant`` [n] (float64)."""

    terms: dict[Product, np.ndarray]
    constant: np.ndarray

    @staticmethod
    def from_atom(atom: Atom, size: int) -> Formula:
        """Return the formula that is just this atom, with ``size`` elements."""
        return Formula({(atom,): np.ones(size)}, np.zeros(size))

    @property
    def size(self) -> int:
        """The length n of the last axis."""
        return len(self.constant)

    @property
    def elementwise(self) -> bool:
        """Whether no coefficient is a matrix."""
        return all(coefficient.ndim == 1 for coefficient in self.terms.values())

    def plus(self, other: Formula) -> Formula:
        """Return the sum, without the terms that cancel out."""
        terms = dict(self.terms)
        for product, coefficient in other.terms.items():
            terms[product] = _add_coefficients(terms[product], coefficient) if product in terms else coefficient
        return Formula({p: c for p, c in terms.items() if np.any(c)}, self.constant + other.constant)

    def scaled(self, by: np.ndarray) -> Formula:
        """Return the product with a number, or element by element with a vector [n]."""
        return Formula({p: c * by for p, c in self.terms.items()}, self.constant * by)

    def times_matrix(self, matrix: np.ndarray) -> Formula:
        """Return the product with a matrix [n, m] from the right."""
        terms = {p: c[:, None] * matrix if c.ndim == 1 else c @ matrix for p, c in self.terms.items()}
        return Formula(terms, self.constant @ matrix)

    def times(self, other: Formula) -> Formula:
        """Return the product element by element, multiplied out; both formulas must be ``elementwise``."""
        result = Formula({}, self.constant * other.constant)
        for one, factor in (*self.terms.items(), ((), self.constant)):
            for two, coefficient in (*other.terms.items(), ((), other.constant)):
                product = tuple(sorted(one + two, key=lambda atom: atom.name))
                if product and np.any(factor * coefficient):
                    result = result.plus(Formula({product: factor * coefficient}, np.zeros(self.size)))
        return result

    def substitute(self, atom: Atom, value: int) -> Formula:
        """Return the formula with ``atom`` replaced by 0 or 1 in all elements."""
        result = Formula({}, self.constant)
        for product, coefficient in self.terms.items():
            rest = tuple(factor for factor in product if factor != atom)
            if rest and (value or rest == product):
                result = result.plus(Formula({rest: coefficient}, np.zeros(self.size)))
            elif not rest and value:
                result = result.plus(Formula({}, coefficient))
        return result

    def atoms(self) -> set[Atom]:
        """Return all atoms of the formula and of the formulas inside its atoms."""
        found: set[Atom] = set()
        for atom in itertools.chain.from_iterable(self.terms):
            found |= {atom} | (atom.of.atoms() if atom.of else set())
        return found

    def broadcast_to(self, size: int) -> Formula:
        """Broadcast a formula of one element to ``size`` elements; one of ``size`` elements is returned unchanged."""
        if self.size not in (1, size):
            raise UnsupportedLoopError("the sizes differ")
        if self.size == size:
            return self
        terms = {product: np.full(size, coefficient.item()) for product, coefficient in self.terms.items()}
        return Formula(terms, np.full(size, self.constant.item()))

    def equals(self, other: Formula) -> bool:
        """Whether two formulas are equal up to rounding in float32."""
        return self.terms.keys() == other.terms.keys() and all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6)
            for a, b in ((self.constant, other.constant), *((c, other.terms[p]) for p, c in self.terms.items()))
        )


def _add_coefficients(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.ndim == b.ndim:
        return np.asarray(a + b)
    return np.asarray((np.diag(a) if a.ndim == 1 else a) + (np.diag(b) if b.ndim == 1 else b))

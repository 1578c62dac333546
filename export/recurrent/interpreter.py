# ruff: noqa: TID253
"""Interpret the nodes of a loop's body symbolically: each tensor becomes a formula or a constant.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from export.recurrent.symbolic import ACTIVATIONS, LINEAR, Atom, Formula, UnsupportedLoopError


class SymbolicInterpreter:
    """Computes tensors of a graph from those that are bound: constants as arrays, all others as formulas."""

    def __init__(self, nodes: Mapping[str, onnx.NodeProto], constant: Callable[[str], np.ndarray | None]) -> None:
        """``nodes`` are given by the tensors they produce; ``constant`` returns the value of a tensor, or None."""
        self._nodes = nodes
        self._constant = constant
        self._values: dict[str, Formula | np.ndarray] = {}

    def bind(self, tensor: str, value: Formula | np.ndarray) -> None:
        """Set the value of a tensor."""
        self._values[tensor] = value

    def formula(self, tensor: str) -> Formula:
        """Return the formula of a tensor.

        Raises:
            UnsupportedLoopError: it is a constant, or no formula of the bound tensors.
        """
        value = self._value(tensor)
        if not isinstance(value, Formula):
            raise UnsupportedLoopError(f"{tensor} is a constant")
        return value

    def _value(self, tensor: str) -> Formula | np.ndarray:
        if tensor not in self._values:
            outside = self._constant(tensor)
            if outside is not None:
                self._values[tensor] = outside
            elif tensor in self._nodes:
                self._evaluate_node(self._nodes[tensor])
            else:
                raise UnsupportedLoopError(f"{tensor} has no known value")
        return self._values[tensor]

    def _evaluate_node(self, node: onnx.NodeProto) -> None:
        inputs = [self._value(name) for name in node.input if name]
        if not any(isinstance(value, Formula) for value in inputs):
            self._values.update(zip(node.output, evaluate_constants(node, inputs), strict=True))  # type: ignore[arg-type]
            return
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        outputs = self._apply(node, inputs, attributes)
        self._values.update(zip(node.output, outputs, strict=True))

    def _apply(self, node: onnx.NodeProto, inputs: list[Any], attributes: dict[str, Any]) -> list[Formula]:
        kind = node.op_type
        if kind in ("Identity", "Cast"):
            if attributes.get("to", onnx.TensorProto.FLOAT) != onnx.TensorProto.FLOAT:
                raise UnsupportedLoopError("a cast to another type")
            return [inputs[0]]
        if kind in ACTIVATIONS:
            settings = ACTIVATIONS[kind] | {k: v for k, v in attributes.items() if k in ("alpha", "beta")}
            activation = (kind, settings.get("alpha", 0.0), settings.get("beta", 0.0))
            return [Formula.from_atom(Atom(node.output[0], activation, inputs[0]), inputs[0].size)]
        match kind, *inputs:
            case "Add", a, b:
                return [_broadcast(a, b).plus(_broadcast(b, a))]
            case "Sub", a, b:
                return [_broadcast(a, b).plus(_broadcast(b, a).scaled(np.array(-1.0)))]
            case "Neg", Formula() as a:
                return [a.scaled(np.array(-1.0))]
            case "Not", Formula() as a:
                return [_complement(a)]
            case "Where", Formula() as mask, a, b:
                wide = max((part for part in (a, b) if isinstance(part, Formula)), key=lambda part: part.size)
                kept = [
                    _as_factor(_broadcast(part, wide), name) for part, name in ((a, node.input[1]), (b, node.input[2]))
                ]
                chosen, other = mask.broadcast_to(wide.size), _complement(mask).broadcast_to(wide.size)
                return [chosen.times(kept[0]).plus(other.times(kept[1]))]
            case "Mul", Formula() as a, Formula() as b:
                left, right = _as_factor(a, node.input[0]), _as_factor(b, node.input[1])
                return [left.broadcast_to(max(a.size, b.size)).times(right.broadcast_to(max(a.size, b.size)))]
            case ("Mul", Formula() as a, np.ndarray() as b) | ("Mul", np.ndarray() as b, Formula() as a):
                return [a.scaled(_constant_row(b, a.size))]
            case "Div", Formula() as a, np.ndarray() as b:
                return [a.scaled(1 / _constant_row(b, a.size))]
            case "MatMul", Formula() as a, np.ndarray() as matrix:
                return [a.times_matrix(_constant_matrix(matrix))]
            case "Gemm", Formula() as a, np.ndarray() as matrix, *rest:
                if attributes.get("transA"):
                    raise UnsupportedLoopError("a transposed input")
                weights = _constant_matrix(matrix.T if attributes.get("transB") else matrix)
                result = a.times_matrix(weights).scaled(np.array(attributes.get("alpha", 1.0)))
                for bias in rest:
                    result = result.plus(_broadcast(bias, result).scaled(np.array(attributes.get("beta", 1.0))))
                return [result]
            case "Clip", Formula() as a, np.ndarray() as low, np.ndarray() as high:
                return [_clip(a, float(low), float(high), node.output[0])]
            case "Concat", *parts if attributes["axis"] in (-1, 1):
                return [_concatenate(parts)]
            case ("Split" | "Slice" | "Gather", Formula() as a, *rest):
                return _select_columns(node, a, rest)
        raise UnsupportedLoopError(f"{kind} of {', '.join(type(value).__name__ for value in inputs)}")


def evaluate_constants(node: onnx.NodeProto, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run one node on constants by ONNX's reference implementation.

    Raises:
        UnsupportedLoopError: it has no such operator, or the operator failed.
    """
    names = [name for name in node.input if name]
    try:
        evaluator = ReferenceEvaluator(node, opsets={"": 18})
        return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))
    except Exception as error:  # it raises whatever NumPy raises
        raise UnsupportedLoopError(f"the reference cannot compute {node.op_type}") from error


def _broadcast(value: Formula | np.ndarray, other: Formula | np.ndarray) -> Formula:
    """Return ``value`` as a formula of the size of ``other``."""
    if isinstance(value, Formula):
        return value.broadcast_to(max(value.size, other.size)) if isinstance(other, Formula) else value
    assert isinstance(other, Formula)  # noqa: S101 - one of the two is
    return Formula({}, _constant_row(value, other.size))


def _constant_row(value: np.ndarray, size: int) -> np.ndarray:
    """Return a constant as float64 [size]; it must be the same for every row of the batch."""
    if value.size not in (1, size) or (value.ndim > 1 and value.size != value.shape[-1]):
        raise UnsupportedLoopError("a constant has more than one row")
    return np.broadcast_to(value.astype(np.float64).ravel(), (size,))


def _constant_matrix(value: np.ndarray) -> np.ndarray:
    if value.ndim != 2:
        raise UnsupportedLoopError("a factor of a matrix product is not a matrix")
    return value.astype(np.float64)


def _complement(mask: Formula) -> Formula:
    """Return 1 - mask."""
    return mask.scaled(np.array(-1.0)).plus(Formula({}, np.ones(mask.size)))


def _as_factor(value: Formula, name: str) -> Formula:
    """Return ``value``, or one atom that stands for it if a coefficient is a matrix."""
    if value.elementwise:
        return value
    return Formula.from_atom(Atom(name, LINEAR, value), value.size)


def _clip(value: Formula, low: float, high: float, name: str) -> Formula:
    """Write a clip by ONNX's HardSigmoid, which clips to [0, 1]; Keras's ``hard_sigmoid`` is clip(x + 3, 0, 6) / 6."""
    if not np.isfinite(high - low) or high <= low:
        raise UnsupportedLoopError("a clip has no finite lower and upper bound")
    width = high - low
    inner = value.plus(Formula({}, np.full(value.size, -low))).scaled(np.array(1 / width))
    atom = Formula.from_atom(Atom(name, ("HardSigmoid", 1.0, 0.0), inner), value.size)
    return atom.scaled(np.array(width)).plus(Formula({}, np.full(value.size, low)))


def _concatenate(parts: list[Any]) -> Formula:
    if not all(isinstance(part, Formula) for part in parts):
        raise UnsupportedLoopError("constants are concatenated with formulas")
    total, at = sum(part.size for part in parts), 0
    result = Formula({}, np.zeros(total))
    for part in parts:
        place = np.zeros((part.size, total))
        place[:, at : at + part.size] = np.eye(part.size)
        result, at = result.plus(part.times_matrix(place)), at + part.size
    return result


def _select_columns(node: onnx.NodeProto, value: Formula, settings: list[np.ndarray]) -> list[Formula]:
    """Return parts of the last axis: the node is run on the indices of the elements, which shows what it selects."""
    numbers = np.arange(value.size)[None]
    found = []
    for chosen in evaluate_constants(node, [numbers, *settings]):
        if chosen.ndim != 2 or chosen.shape[0] != 1:
            raise UnsupportedLoopError("the batch axis is cut")
        found.append(value.times_matrix(np.eye(value.size)[:, chosen[0]]))
    return found

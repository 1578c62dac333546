# ruff: noqa: TID253
"""Reader: turns the nodes of a loop's body into formulas.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from export.recurrent.symbolic import ACTIVATIONS, LINEAR, Atom, Formula, Unreadable


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
            case "Not", Formula() as a:
                return [_unless(a)]
            case "Where", Formula() as mask, a, b:
                wide = max((part for part in (a, b) if isinstance(part, Formula)), key=lambda part: part.size)
                kept = [
                    _factor(_broadcast(part, wide), name) for part, name in ((a, node.input[1]), (b, node.input[2]))
                ]
                return [mask.wide(wide.size).times(kept[0]).plus(_unless(mask).wide(wide.size).times(kept[1]))]
            case "Mul", Formula() as a, Formula() as b:
                left, right = _factor(a, node.input[0]), _factor(b, node.input[1])
                return [left.wide(max(a.size, b.size)).times(right.wide(max(a.size, b.size)))]
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


def _broadcast(value: Formula | np.ndarray, other: Formula | np.ndarray) -> Formula:
    """``value`` as a formula of the size of ``other``."""
    if isinstance(value, Formula):
        return value.wide(max(value.size, other.size)) if isinstance(other, Formula) else value
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


def _unless(mask: Formula) -> Formula:
    """1 where the mask is 0, and the other way round."""
    return mask.scaled(np.array(-1.0)).plus(Formula({}, np.ones(mask.size)))


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

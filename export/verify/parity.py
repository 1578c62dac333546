"""Parity: do a SavedModel and its ONNX form still give what Keras gave when training ended?

The one place that says how far apart two numbers may be, and how a graph's example is replayed to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bookserve.bundle.examples import Example
from bookserve.graph import Arrays, Graph

RunGraph = Callable[[Arrays], Arrays]

#: By dtype: (relative, absolute). A value may differ by ``absolute + relative × |expected|``; other dtypes not at all.
#: In an output whose largest value is over 1, ``absolute`` is that part of it: sums that nearly cancel out, such as the
#: first layer's over pixels from -128 to 127, keep the rounding of what was added.
#:
#: Measured over the catalogue and over small models with random weights: on one machine float32 stays below 4e-6
#: relative, and below 6e-7 absolute where values are under 0.1, since only the order of additions differs. The bounds
#: leave room for kernels of other CPUs and for training on a GPU, and are far below what a wrong layout, axis or gate
#: order gives (1e-2 and more). The exporter's own tests are held to 1e-5.
TOLERANCE: dict[str, tuple[float, float]] = {
    "float16": (1e-2, 1e-3),
    "float32": (1e-3, 1e-5),
    "float64": (1e-6, 1e-9),
}

#: An output of this name is a gradient: a graph of the verb ``transform`` gives one.
GRADIENT = "gradient"

#: How long the difference of a row's gradients may be, as a part of the gradient's own length. A gradient jumps where
#: a rectifier's input is nought or two values of a window are equal: a change of the last bit of a picture moved
#: InceptionV3's by up to 1e-2, in TensorFlow alone as between TensorFlow and ONNX. That every operator is right is
#: shown by the exporter's own tests, element by element; here a wrong one would move it by a tenth and more.
GRADIENT_TOLERANCE = 5e-2

#: At most so many rows of an example are also run alone.
_MAX_SINGLE_ROWS = 8


class Comparison(NamedTuple):
    """``difference``: the largest found, absolute; ``problem``: the worst one past tolerance in words, or ''."""

    difference: float = 0.0
    problem: str = ""


def describe_tolerance(graph: Graph) -> str:
    """In words, what the outputs of ``graph`` are held to."""
    dtypes = sorted({spec.dtype for name, spec in graph.outputs.items() if name != GRADIENT})
    words = [_describe_bounds(dtype) for dtype in dtypes]
    if GRADIENT in graph.outputs:
        words.append(f"{GRADIENT}: {GRADIENT_TOLERANCE:g} of its length")
    return "; ".join(words)


def compare(expected: Arrays, got: Arrays) -> Comparison:
    """Compare outputs by name, shape, dtype and value."""
    if expected.keys() != got.keys():
        return Comparison(np.inf, f"the outputs are {sorted(got)}; expected {sorted(expected)}")
    findings = [_compare_output(name, array, got[name]) for name, array in expected.items()]
    return _combine(sorted(findings, key=lambda finding: -finding.difference))


def replay(graph: Graph, example: Example, run: RunGraph) -> Comparison:
    """Run an example as it is and, where the graph has a batch axis, each row alone and all rows three times over."""
    findings = [compare(example.outputs, run(example.inputs))]
    if graph.batched:
        rows = len(next(iter(example.inputs.values())))
        for row in range(min(rows, _MAX_SINGLE_ROWS)):
            alone = _map_arrays(example, lambda array: array[row : row + 1])  # noqa: B023 - called at once
            findings.append(_in_context(f"row {row} alone", compare(alone.outputs, run(alone.inputs))))
        more = _map_arrays(example, lambda array: np.concatenate([array] * 3))
        findings.append(_in_context("three times the batch", compare(more.outputs, run(more.inputs))))
    return _combine(findings)


def shortened_inputs(graph: Graph, inputs: Arrays) -> Iterator[tuple[str, Arrays]]:
    """The same inputs cut along every axis that each call chooses (but the batch), to one and to half its size.

    Pictures of one pixel would leave nothing behind a few poolings, and some of TensorFlow's gradients of nothing end
    the process: heights and widths become less by a few pixels instead. How many ``numbers`` go with a picture depends
    on its size: beside a cut picture stands one, which all of its own are compared with.
    """
    axes = {axis for spec in graph.inputs.values() for axis in spec.shape if isinstance(axis, str)} - {"batch"}
    for axis in sorted(axes):
        where = {name: spec.shape.index(axis) for name, spec in graph.inputs.items() if axis in spec.shape}
        size = min(inputs[name].shape[position] for name, position in where.items())
        picture = axis in ("height", "width")
        least = max(1, size - 5) if picture else 1
        beside = [name for name, spec in graph.inputs.items() if picture and "numbers" in spec.shape]
        for length in sorted({least, (size + 1) // 2} - {size}):
            cut = {name: inputs[name].take(range(length), axis=position) for name, position in where.items()}
            ones = {name: inputs[name].take([0], axis=graph.inputs[name].shape.index("numbers")) for name in beside}
            yield f"{axis} = {length}", inputs | cut | ones


def _compare_output(name: str, expected: np.ndarray, got: np.ndarray) -> Comparison:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        kinds = f"{got.dtype}{list(got.shape)}; expected {expected.dtype}{list(expected.shape)}"
        return Comparison(np.inf, f"output '{name}' is {kinds}")
    if expected.size == 0:
        return Comparison()
    if name == GRADIENT and expected.dtype.kind == "f" and expected.ndim > 1:
        return _compare_gradients(expected, got)
    if expected.dtype.kind == "f":
        relative, absolute = TOLERANCE[expected.dtype.name]
        a, b = expected.astype(np.float64), got.astype(np.float64)
        with np.errstate(invalid="ignore"):
            distance = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
            distance = np.where(np.isnan(distance), np.inf, distance)
            size = np.where(np.isfinite(a), np.abs(a), 0.0)
            excess = distance - (absolute * max(1.0, size.max()) + relative * size)
    elif expected.dtype == object:
        distance = excess = (expected != got).astype(np.float64)
    else:
        distance = excess = np.abs(expected.astype(np.float64) - got.astype(np.float64))
        distance = excess = np.where((expected != got) & (distance == 0), 1.0, distance)  # beyond 2**53
    worst = tuple(int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
    problem = ""
    if excess[worst] > 0:
        problem = (
            f"output '{name}' at {list(worst)} is {got[worst]!s}; expected {expected[worst]!s} "
            f"(tolerance {_describe_bounds(_dtype_name(expected))})"
        )
    return Comparison(float(distance.max()), problem)


def _compare_gradients(expected: np.ndarray, got: np.ndarray) -> Comparison:
    """Compare row by row, by length."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (expected, got))
    with np.errstate(invalid="ignore"):
        distance = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    distance = np.where(np.isnan(distance), np.inf, distance)
    length = np.linalg.norm(np.where(np.isfinite(a), a, 0.0), axis=1)
    excess = np.linalg.norm(distance, axis=1) - GRADIENT_TOLERANCE * length
    row, problem = int(excess.argmax()), ""
    if excess[row] > 0:
        worst = np.unravel_index(int(distance[row].argmax()), expected.shape[1:])
        at = (row, *(int(i) for i in worst))
        problem = (
            f"output '{GRADIENT}' differs by {np.linalg.norm(distance[row]):.3g} in row {row}, most at {list(at)}, "
            f"which is {got[at]!s}; expected {expected[at]!s} (tolerance {GRADIENT_TOLERANCE:g} of its length {length[row]:.3g})"
        )
    return Comparison(float(distance.max()), problem)


def _combine(findings: list[Comparison]) -> Comparison:
    """The largest difference of all, and the first problem."""
    problems = (finding.problem for finding in findings if finding.problem)
    return Comparison(max((finding.difference for finding in findings), default=0.0), next(problems, ""))


def _in_context(where: str, finding: Comparison) -> Comparison:
    return finding._replace(problem=f"with {where}, {finding.problem}" if finding.problem else "")


def _map_arrays(example: Example, change: Callable[[np.ndarray], np.ndarray]) -> Example:
    return Example(
        {name: change(array) for name, array in example.inputs.items()},
        {name: change(array) for name, array in example.outputs.items()},
    )


def _dtype_name(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


def _describe_bounds(dtype: str) -> str:
    if dtype not in TOLERANCE:
        return f"{dtype}: none"
    relative, absolute = TOLERANCE[dtype]
    return f"{dtype}: {relative:g} relative + {absolute:g}"

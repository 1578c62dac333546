"""Compare the outputs of a graph with the expected ones: tolerances, and how a graph's example is replayed.

All comparisons of Keras, SavedModel and ONNX use these tolerances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from bookserve.bundle.examples import Example
from bookserve.graph import Arrays, Graph

RunGraph = Callable[[Arrays], Arrays]

#: By dtype: (relative, absolute). A value may differ by ``absolute + relative × |expected|``; values of other dtypes
#: must be equal. If the largest value of an output is over 1, ``absolute`` is multiplied by it: a sum that nearly
#: cancels out (such as the first layer's, over pixels from -128 to 127) keeps the rounding errors of its large
#: summands.
#:
#: Measured over all tasks and over small models with random weights: on one machine float32 differs by less than 4e-6
#: relative, and by less than 6e-7 absolute where values are below 0.1, since only the order of additions differs. The
#: bounds are larger, for the kernels of other CPUs and for training on a GPU, but much smaller than the effect of a
#: wrong layout, axis or gate order (1e-2 and more). The exporter's own tests use 1e-5.
TOLERANCE: dict[str, tuple[float, float]] = {
    "float16": (1e-2, 1e-3),
    "float32": (1e-3, 1e-5),
    "float64": (1e-6, 1e-9),
}

#: The name of an output that is a gradient, in graphs of the verb ``transform``.
GRADIENT = "gradient"

#: The largest accepted norm of the difference between two gradients of a row, relative to the norm of the gradient.
#: Gradients are discontinuous where the input of a ReLU is 0 or two values of a pooling window are equal: a change of
#: the last bit of a picture changed InceptionV3's gradient by up to 1e-2, within TensorFlow as well as between
#: TensorFlow and ONNX. A wrong operator changes it by 1e-1 and more. The exporter's own tests check every operator
#: element by element.
GRADIENT_TOLERANCE = 5e-2

#: Free axes that are shorter than this are also tried longer.
_LONGEST = 128
#: At most this many rows of an example are also run one by one.
_MAX_SINGLE_ROWS = 8


class Comparison(NamedTuple):
    """``difference`` is the largest absolute difference; ``problem`` describes the worst one past tolerance, or ''."""

    difference: float = 0.0
    problem: str = ""

    def where(self, described: str) -> Comparison:
        """The same, with a problem that says with what it was found."""
        return self._replace(problem=f"with {described}, {self.problem}") if described and self.problem else self


def describe_tolerance(graph: Graph) -> str:
    """Describe the tolerances for the outputs of ``graph``."""
    dtypes = sorted({spec.dtype for name, spec in graph.outputs.items() if name != GRADIENT})
    words = [_describe_bounds(dtype, graph.half) for dtype in dtypes]
    if GRADIENT in graph.outputs:
        words.append(f"{GRADIENT}: {GRADIENT_TOLERANCE:g} of its length")
    return "; ".join(words)


def compare(expected: Arrays, got: Arrays, half: bool = False) -> Comparison:
    """Compare outputs by their names, shapes, dtypes and values; ``half`` is that of their ``Graph``."""
    if expected.keys() != got.keys():
        return Comparison(np.inf, f"the outputs are {sorted(got)}; expected {sorted(expected)}")
    findings = [_compare_output(name, array, got[name], half) for name, array in expected.items()]
    return combine(sorted(findings, key=lambda finding: -finding.difference))


def replay(graph: Graph, example: Example, run: RunGraph) -> Comparison:
    """Run an example and what ``batches`` makes of it, and compare the outputs."""
    return combine(
        compare(part.outputs, run(part.inputs), graph.half).where(described)
        for described, part in batches(graph, example)
    )


def batches(graph: Graph, example: Example) -> Iterator[tuple[str, Example]]:
    """The example itself, with the description ''.

    If the graph has a batch axis, also each row alone, and a batch of all rows repeated three times.
    """
    yield "", example
    if graph.batched:
        rows = len(next(iter(example.inputs.values())))
        for row in range(min(rows, _MAX_SINGLE_ROWS)):
            yield f"row {row} alone", _map_arrays(example, itemgetter(slice(row, row + 1)))
        yield "three times the batch", _map_arrays(example, lambda array: np.concatenate([array] * 3))


def other_lengths(graph: Graph, inputs: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Yield the inputs cut along each free axis except the batch, to one element and to half the size, and repeated to
    three times the size; and inputs of unknown rank with other numbers of axes.

    Heights and widths are cut by five pixels instead of to one: after some poolings nothing would be left of a picture
    of one pixel, and some of TensorFlow's gradient operators end the process if they get an empty tensor. Inputs with
    an axis ``numbers`` depend on the size of the picture; beside a cut picture they get one number.
    """
    unranked = [name for name, spec in graph.inputs.items() if not spec.ranked]
    if unranked:
        yield "one axis more", inputs | {name: inputs[name][..., None] for name in unranked}
        yield "one axis only", inputs | {name: inputs[name].ravel() for name in unranked}
    ranked = [spec for spec in graph.inputs.values() if spec.ranked]
    axes = {axis for spec in ranked for axis in spec.shape if isinstance(axis, str)} - {"batch"}
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
        if not picture and size < _LONGEST:
            places = np.arange(3 * size) % size
            yield (
                f"{axis} = {3 * size}",
                inputs | {name: inputs[name].take(places, axis=at) for name, at in where.items()},
            )


def _compare_output(name: str, expected: np.ndarray, got: np.ndarray, half: bool) -> Comparison:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        kinds = f"{got.dtype}{list(got.shape)}; expected {expected.dtype}{list(expected.shape)}"
        return Comparison(np.inf, f"output '{name}' is {kinds}")
    if expected.size == 0:
        return Comparison()
    if name == GRADIENT and expected.dtype.kind == "f" and expected.ndim > 1:
        return _compare_gradients(expected, got)
    if expected.dtype.kind == "f":
        relative, absolute = _bounds(expected.dtype.name, half)
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
        distance = excess = np.where((expected != got) & (distance == 0), 1.0, distance)  # integers beyond 2**53
    worst = tuple(int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
    problem = ""
    if excess[worst] > 0:
        problem = (
            f"output '{name}' at {list(worst)} is {got[worst]!s}; expected {expected[worst]!s} "
            f"(tolerance {_describe_bounds(_dtype_name(expected), half)})"
        )
    return Comparison(float(distance.max()), problem)


def _compare_gradients(expected: np.ndarray, got: np.ndarray) -> Comparison:
    """Compare two gradients row by row by the norm of their difference."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (expected, got))
    with np.errstate(invalid="ignore"):
        distance = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    distance = np.where(np.isnan(distance), np.inf, distance)
    norm = np.linalg.norm(np.where(np.isfinite(a), a, 0.0), axis=1)
    excess = np.linalg.norm(distance, axis=1) - GRADIENT_TOLERANCE * norm
    row, problem = int(excess.argmax()), ""
    if excess[row] > 0:
        worst = np.unravel_index(int(distance[row].argmax()), expected.shape[1:])
        at = (row, *(int(i) for i in worst))
        problem = (
            f"output '{GRADIENT}' differs by {np.linalg.norm(distance[row]):.3g} in row {row}, most at {list(at)}, "
            f"which is {got[at]!s}; expected {expected[at]!s} "
            f"(tolerance {GRADIENT_TOLERANCE:g} of its length {norm[row]:.3g})"
        )
    return Comparison(float(distance.max()), problem)


def combine(findings: Iterable[Comparison]) -> Comparison:
    """Return the largest difference of all, and the first problem."""
    found = list(findings)
    problems = (finding.problem for finding in found if finding.problem)
    return Comparison(max((finding.difference for finding in found), default=0.0), next(problems, ""))


def _map_arrays(example: Example, change: Callable[[np.ndarray], np.ndarray]) -> Example:
    return Example(
        {name: change(array) for name, array in example.inputs.items()},
        {name: change(array) for name, array in example.outputs.items()},
    )


def _dtype_name(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


def _bounds(dtype: str, half: bool) -> tuple[float, float]:
    """The tolerance of a float; in a graph of half precision it is that of float16."""
    return TOLERANCE["float16" if half else dtype]


def _describe_bounds(dtype: str, half: bool) -> str:
    if dtype not in TOLERANCE:
        return f"{dtype}: none"
    relative, absolute = _bounds(dtype, half)
    return f"{dtype}{' of half precision' if half and dtype != 'float16' else ''}: {relative:g} relative + {absolute:g}"

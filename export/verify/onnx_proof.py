"""Prove that the ONNX form of a graph answers as its SavedModel does, on more inputs than its examples hold.

The examples travel with the bundle and are few. Here the graph also gets every id of its tables, more random rows,
padded rows, and sequences of other lengths. A difference that the SavedModel itself shows, when its inputs change by
their last bit, is rounding and no error. Where all inputs are whole numbers or texts, the weights of the ONNX form
change by their last bit instead.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bookserve.bundle import parity
from bookserve.bundle.examples import Example
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph
from bookserve.runtime import open_session

_SEED = 20_180_102
#: How many random rows are tried, and how many numbers an input may then have at most.
_ROWS, _MOST_NUMBERS = 32, 500_000
#: The largest table of which every id is tried.
_LARGEST_TABLE = 200_000
#: A difference from the SavedModel may be this many times what a change of the last bit makes in it.
_ROUNDING_FACTOR = 8.0
#: The largest distance of neighbours in float16, relative to them.
_HALF_STEP = 2**-10


def prove_onnx(
    path: Path, run_saved_model: parity.RunGraph, graph: Graph, example: Example, table_sizes: Sequence[int]
) -> float:
    """Compare an ONNX file, run as the server will run it, with the SavedModel; return the largest difference.

    Raises:
        Failed: it cannot be loaded, or its answers differ by more than tolerance and rounding.
    """
    try:
        session = open_session(path)
    except Failed as error:
        raise Failed(error.message.replace(f" {path}:", " it:")) from error
    compare = partial(_compare_forms, path, run_saved_model, session.run, graph)
    found = parity.combine(compare(part).where(described) for described, part in parity.batches(graph, example))
    others = _answered(run_saved_model, other_inputs(graph, example, table_sizes))
    other_problems = (compare(part).where(described).problem for described, part in others)
    problem = found.problem or next(filter(None, other_problems), "")
    if problem:
        raise Failed(
            f"the ONNX form gives other answers: {problem}.", "This is an error of the converter: please report it."
        )
    return found.difference


def replay_onnx(path: Path, run_saved_model: parity.RunGraph, graph: Graph, example: Example) -> parity.Comparison:
    """``parity.replay`` of an ONNX file beside its SavedModel: a difference that is rounding is no problem."""
    compare = partial(_compare_forms, path, run_saved_model, open_session(path).run, graph)
    return parity.combine(compare(part).where(described) for described, part in parity.batches(graph, example))


def _compare_forms(
    path: Path, run_saved_model: parity.RunGraph, run_onnx: parity.RunGraph, graph: Graph, example: Example
) -> parity.Comparison:
    """Compare the answers of an ONNX file with an example; a difference that is rounding is no problem."""
    found = parity.compare(example.outputs, run_onnx(example.inputs), graph.half)
    if found.problem and _is_rounding(path, run_saved_model, run_onnx, graph.half, example):
        return found._replace(problem="")
    return found


def _answered(run_saved_model: parity.RunGraph, others: Iterable[tuple[str, Arrays]]) -> Iterator[tuple[str, Example]]:
    """The inputs that the model itself takes, with its answers."""
    for described, feeds in others:
        try:
            answers = run_saved_model(feeds)
        except (Failed, InvalidInput):
            continue
        yield described, Example(feeds, answers)


def other_inputs(graph: Graph, example: Example, table_sizes: Sequence[int] = ()) -> Iterator[tuple[str, Arrays]]:
    """Yield inputs beside the example's, each with a description: more and padded rows, every id, other lengths."""
    if graph.batched and example.inputs:
        yield from _more_rows(example)
        yield from _padded_rows(example)
        yield from _every_id(example, table_sizes)
    yield from parity.other_lengths(graph, example.inputs)


def _more_rows(example: Example) -> Iterator[tuple[str, Arrays]]:
    rng = np.random.default_rng(_SEED)
    largest = max(_row_size(array) for array in example.inputs.values())
    rows = min(_ROWS, _MOST_NUMBERS // max(1, largest))
    if rows > len(next(iter(example.inputs.values()))):
        yield "other rows", {name: _redrawn(rng, array, rows) for name, array in example.inputs.items()}


def _padded_rows(example: Example) -> Iterator[tuple[str, Arrays]]:
    """For each input of sequences: rows with zeros at the end, at the start, within, and everywhere, for masks."""
    for name, array in example.inputs.items():
        sequences = array.ndim == 2 if array.dtype.kind in "iu" else array.ndim == 3 and array.dtype.kind == "f"
        if not sequences or array.shape[1] < 3:
            continue
        feeds = {other: np.resize(values, (4, *values.shape[1:])) for other, values in example.inputs.items()}
        third = array.shape[1] // 3
        for row, zeros in enumerate((slice(-third, None), slice(third), slice(third, -third), slice(None))):
            feeds[name][row, zeros] = 0
        yield f"padded rows in '{name}'", feeds


def _redrawn(rng: np.random.Generator, array: np.ndarray, rows: int) -> np.ndarray:
    """Rows with values like those of ``array``, each number drawn from all of it."""
    shape = (rows, *array.shape[1:])
    if array.dtype.kind == "f":
        noise = rng.standard_normal(shape) * np.abs(array).mean() if (array < 0).any() else 0.0
        return np.asarray(rng.choice(array.ravel(), shape) + noise, array.dtype)
    return np.asarray(rng.choice(array.ravel(), shape), array.dtype)


def _every_id(example: Example, table_sizes: Sequence[int]) -> Iterator[tuple[str, Arrays]]:
    """For each input of whole numbers: all ids of the table whose largest id the example has."""
    for name, array in example.inputs.items():
        if array.dtype.kind not in "iu" or not _row_size(array):
            continue
        size = int(array.max()) + 1
        if size not in table_sizes or size > _LARGEST_TABLE:
            continue
        rows = -(-size // _row_size(array))
        ids = np.resize(np.arange(size), (rows, *array.shape[1:])).astype(array.dtype)
        for start in range(0, rows, _ROWS):
            part = ids[start : start + _ROWS]
            others = {
                other: np.resize(values, (len(part), *values.shape[1:])) for other, values in example.inputs.items()
            }
            yield f"ids from {int(part.min())} in '{name}'", {**others, name: part}


def _row_size(array: np.ndarray) -> int:
    return math.prod(array.shape[1:])


def _is_rounding(
    path: Path, run_saved_model: parity.RunGraph, run_onnx: parity.RunGraph, half: bool, example: Example
) -> bool:
    """Whether the forms differ no more than the model from itself, when all its numbers change by their last bit."""
    expected, got = run_saved_model(example.inputs), run_onnx(example.inputs)
    floats = any(array.dtype.kind == "f" for array in example.inputs.values())
    itself, others = (
        (expected, map(run_saved_model, _moved_inputs(example, half)))
        if floats
        else (got, (run(example.inputs) for run in _moved_weights(path, half)))
    )
    allowed: dict[str, float] = {}
    try:
        for changed in others:
            for name, array in itself.items():
                if array.dtype.kind in "fiu" and array.shape == changed[name].shape:
                    allowed[name] = max(allowed.get(name, 0.0), _largest_difference(array, changed[name]))
    except (Failed, InvalidInput):  # a number of the graph became one that it cannot use: what it allows is unknown
        return False
    for name, array in expected.items():
        if got[name].shape != array.shape or got[name].dtype != array.dtype:
            return False
        differs = parity.compare({name: array}, {name: got[name]}, half).problem
        if differs and _largest_difference(array, got[name]) > _ROUNDING_FACTOR * allowed.get(name, 0.0):
            return False
    return True


def _moved_inputs(example: Example, half: bool) -> Iterator[Arrays]:
    """The inputs with each number a bit smaller, and a bit larger."""
    for direction in (-1, 1):
        yield {
            name: _moved(array, direction, half) if array.dtype.kind == "f" else array
            for name, array in example.inputs.items()
        }


def _moved_weights(path: Path, half: bool) -> Iterator[parity.RunGraph]:
    """The ONNX form twice, with each weight a bit smaller or larger, as it happens."""
    import onnx

    rng = np.random.default_rng(_SEED)
    for _ in range(2):
        proto = onnx.load(path)
        for tensor in proto.graph.initializer:
            weights = onnx.numpy_helper.to_array(tensor)
            if weights.dtype in (np.float16, np.float32, np.float64):
                moved = _moved(weights, rng.choice([-1, 1], weights.shape), half)
                tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
        with tempfile.TemporaryDirectory(prefix="bookserve-") as directory:
            changed = Path(directory) / path.name
            changed.write_bytes(proto.SerializeToString())
            yield open_session(changed).run


def _moved(array: np.ndarray, direction: np.ndarray | int, half: bool) -> np.ndarray:
    """The next numbers below (-1) or above (1); for a graph of half precision, those that differ in it."""
    if half and array.dtype != np.float16:
        return np.asarray(array * (1 + direction * _HALF_STEP), array.dtype)
    return np.asarray(np.nextafter(array, np.asarray(direction * np.inf, array.dtype)))


def _largest_difference(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.where(np.isnan(distance), np.inf, distance).max(initial=0.0))

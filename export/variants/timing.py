"""Measure the milliseconds of several functions in turns, so that other load on the machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from bookserve.graph import Arrays

_MIN_ROUNDS, _MAX_ROUNDS = 5, 200


def interleaved_milliseconds(functions: Mapping[str, Callable[[], object]], seconds: float = 0.2) -> dict[str, float]:
    """Measure each function in turns for about ``seconds`` in all, after one run each that is not counted.

    Returns the first quartile in milliseconds, not the mean: other load on the machine can only make a run slower.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for run in functions.values():
        run()
    end = time.perf_counter() + seconds
    for turn in range(_MAX_ROUNDS):
        if turn >= _MIN_ROUNDS and time.perf_counter() > end:
            break
        for name, run in functions.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.quantiles(times, n=4)[0] for name, times in taken.items()}


def repeat_rows(inputs: Arrays, count: int) -> Arrays:
    """Return the first ``count`` rows of a graph's inputs; where there are fewer, they are repeated."""
    return {name: array.take(range(count), axis=0, mode="wrap") for name, array in inputs.items()}

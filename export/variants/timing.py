"""Timing: milliseconds of several ways to run the same thing, measured in turns so that a busy machine slows all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from bookserve.graph import Arrays

_MIN_ROUNDS, _MAX_ROUNDS = 5, 200


def interleaved_milliseconds(ways: Mapping[str, Callable[[], object]], seconds: float = 0.2) -> dict[str, float]:
    """Milliseconds of each way, after one run each that does not count; about ``seconds`` in all.

    A quarter of the runs were faster: what others do on the machine only ever adds to a time.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        run()
    end = time.perf_counter() + seconds
    for turn in range(_MAX_ROUNDS):
        if turn >= _MIN_ROUNDS and time.perf_counter() > end:
            break
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.quantiles(times, n=4)[0] for name, times in taken.items()}


def repeat_rows(inputs: Arrays, count: int) -> Arrays:
    """The first ``count`` rows of a graph's inputs, over and over again where there are fewer."""
    return {name: array.take(range(count), axis=0, mode="wrap") for name, array in inputs.items()}

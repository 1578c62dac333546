"""Runs a graph on a GPU through buffers of a few fixed batch sizes, where that is faster than the plain session.

A batch of another size is filled up with copies of its last row. The buffers keep their addresses, so CUDA can record
the work of one run as a graph and start it again with one call. Each size is timed beside the plain session when the
graph is opened, and its answers must be the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bookserve.bundle import parity
from bookserve.errors import BookserveError, Failed
from bookserve.graph import Arrays, Graph
from bookserve.runtime.base import Session
from bookserve.runtime.devices import DeviceLost
from bookserve.runtime.timing import BUDGET, FeedsOf, fastest, seconds

#: The batch sizes that have buffers.
SIZES = (1, 8, 32, 128, 256)
#: What a size must gain at least over the plain session.
_GAIN = 0.95

logger = logging.getLogger("bookserve")


class FixedSizeSession:
    """A graph on a GPU with buffers for some batch sizes; see ``Session``."""

    def __init__(self, plain: Session, fixed: Session, table: Sequence[int], where: str) -> None:
        """``fixed`` takes only batches of some sizes. ``table`` says for 0 rows, 1 row and so on which of them to fill
        up to; 0 for the ``plain`` session, which also takes all larger batches. ``where`` names the graph."""
        self._plain = plain
        self._fixed: Session | None = fixed
        self._table = table
        self._where = where

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``. If the buffers fail, the plain session runs this batch and all others."""
        rows = len(next(iter(feeds.values())))
        size = self._table[rows] if rows < len(self._table) else 0
        if not size or self._fixed is None:
            return self._plain.run(feeds)
        try:
            outputs = self._fixed.run(filled_up(feeds, size))
        except DeviceLost:
            raise
        except Failed as error:
            self._fixed = None
            logger.warning("%s runs without fixed buffers from now on: %s", self._where, error.message)
            return self._plain.run(feeds)
        return outputs if size == rows else {name: array[:rows] for name, array in outputs.items()}


def takes_fixed_sizes(graph: Graph) -> bool:
    """Whether only the number of rows is free, and nothing is a string: then buffers of fixed size can be made."""
    specs = [*graph.inputs.values(), *graph.outputs.values()]
    return (
        graph.batched
        and bool(graph.inputs)
        and all(
            spec.dtype != "string" and spec.ranked and all(isinstance(axis, int) for axis in spec.shape[1:])
            for spec in specs
        )
    )


def filled_up(feeds: Mapping[str, np.ndarray], rows: int) -> Arrays:
    """The feeds with ``rows`` rows: the last row is repeated."""
    return {
        name: array if len(array) == rows else np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
        for name, array in feeds.items()
    }


def time_fixed(
    plain: Session, fixed: Session, feeds_of: FeedsOf, clock: Callable[[], float], budget: float = BUDGET
) -> dict[int, float]:
    """Seconds of a run through the buffers, by size. Sizes whose answers differ, or which fail, are left out."""
    found: dict[int, float] = {}
    end = clock() + budget
    for size in SIZES:
        feeds = feeds_of(size)
        try:
            if parity.compare(plain.run(feeds), fixed.run(feeds)).problem:
                continue
            found[size] = fastest(fixed, feeds, clock, end - clock())
        except DeviceLost:
            raise
        except BookserveError:
            continue
        if clock() > end:
            break
    return found


def size_table(plain: Mapping[int, float], fixed: Mapping[int, float]) -> list[int]:
    """For 0 rows, 1 row and so on: the size to fill up to, or 0 where the plain session is as fast.

    ``plain`` and ``fixed`` are seconds by size. Empty where no size is faster.
    """
    table = [0] * (SIZES[-1] + 1)
    for rows in range(1, len(table)):
        size = next((one for one in SIZES if one >= rows), 0)
        if size in fixed and fixed[size] < seconds(dict(plain), rows) * _GAIN:
            table[rows] = size
    return table if any(table) else []

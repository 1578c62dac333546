"""One metric and its values, as plain numbers in a dictionary: every request is counted."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

Labels = tuple[str, ...]
#: Values by label values; see ``MetricFamily``.
Cells = list[tuple[Labels, list[float]]]


class MetricFamily(msgspec.Struct):
    """One metric with its values by label values.

    A value is a list: one number; or for a histogram the count of each bucket, and the sum at the end.
    """

    name: str
    text: str
    labels: Labels
    #: Upper bounds of the buckets, for a histogram.
    bounds: tuple[float, ...] = ()
    gauge: bool = False
    cells: dict[Labels, list[float]] = {}

    def count(self, labels: Labels) -> None:
        """Add one."""
        cell = self.cells.get(labels)
        if cell is None:
            self.cells[labels] = [1]
        else:
            cell[0] += 1

    def observe(self, labels: Labels, value: float) -> None:
        """Add one to the bucket of ``value``."""
        cell = self.cells.get(labels)
        if cell is None:
            cell = self.cells[labels] = [0.0] * (len(self.bounds) + 2)
        cell[bisect_left(self.bounds, value)] += 1
        cell[-1] += value

    def add(self, cells: Iterable[tuple[Labels, Sequence[float]]]) -> None:
        """Add the values of another process; for a gauge, keep the larger value."""
        for labels, numbers in cells:
            own = self.cells.get(tuple(labels)) or [0.0] * len(numbers)
            combine = max if self.gauge else operator.add
            self.cells[tuple(labels)] = list(map(combine, own, numbers))

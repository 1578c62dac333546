"""Counts requests and runs of each graph since the server started, for protocols in which clients read statistics.

Unlike the metrics for Prometheus, these totals can be read back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import msgspec


class Duration(msgspec.Struct):
    """A number of events and their total time in nanoseconds."""

    count: int = 0
    ns: int = 0

    def plus(self, other: Duration) -> Duration:
        """The sum of both."""
        return Duration(self.count + other.count, self.ns + other.ns)


class RequestCounts(msgspec.Struct):
    """The counts of one graph, or the sum over all graphs of one version."""

    #: Requests that succeeded and that failed; the time is from the checked request to the result.
    success: Duration = msgspec.field(default_factory=Duration)
    fail: Duration = msgspec.field(default_factory=Duration)
    #: Time that requests waited for their run.
    queue: Duration = msgspec.field(default_factory=Duration)
    #: Runs by batch size.
    runs: dict[int, Duration] = msgspec.field(default_factory=dict)
    #: Unix time in seconds of the last result; 0 if there was none.
    last: float = 0

    def plus(self, other: RequestCounts) -> RequestCounts:
        """The sum of both."""
        own, others = dict(self.runs), dict(other.runs)  # copies: a run may end in another thread at the same time
        runs = {rows: own.get(rows, Duration()).plus(others.get(rows, Duration())) for rows in sorted({*own, *others})}
        return RequestCounts(
            success=self.success.plus(other.success),
            fail=self.fail.plus(other.fail),
            queue=self.queue.plus(other.queue),
            runs=runs,
            last=max(self.last, other.last),
        )


class Statistics:
    """The counts of one server. For each graph, one thread at a time counts runs; the event loop counts requests."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, int], dict[str, RequestCounts]] = defaultdict(lambda: defaultdict(RequestCounts))

    def count_run(self, model: str, version: int, graph: str, rows: int, seconds: float) -> None:
        """Count one run of a graph on a batch of ``rows``."""
        runs = self._graphs[model, version][graph].runs
        duration = runs.get(rows)
        if duration is None:
            duration = runs[rows] = Duration()
        duration.count += 1
        duration.ns += int(seconds * 1e9)

    def count_waits(self, model: str, version: int, graph: str, seconds: Sequence[float]) -> None:
        """Count how long each request of a run had waited for it."""
        queue = self._graphs[model, version][graph].queue
        queue.count += len(seconds)
        queue.ns += int(sum(seconds) * 1e9)

    def forget_version(self, model: str, version: int) -> None:
        """Drop the counts of an unloaded version."""
        self._graphs.pop((model, version), None)

    def count_request(self, model: str, version: int, graph: str, seconds: float, success: bool) -> None:
        """Count one request and how it ended."""
        counts = self._graphs[model, version][graph]
        duration = counts.success if success else counts.fail
        duration.count += 1
        duration.ns += int(seconds * 1e9)
        counts.last = time.time()

    def of_version(self, model: str, version: int) -> RequestCounts:
        """The sum of the counts of all graphs of one version."""
        total = RequestCounts()
        for counts in list(self._graphs.get((model, version), {}).values()):
            total = total.plus(counts)
        return total

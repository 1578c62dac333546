"""Statistics: what was counted of each graph since the server began, as totals that can be read back.

Prometheus's metrics are for watching from outside; these are for protocols in which a client asks the server itself.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import msgspec


class Duration(msgspec.Struct):
    """How often something took how long altogether."""

    count: int = 0
    ns: int = 0

    def plus(self, other: Duration) -> Duration:
        """Both together."""
        return Duration(self.count + other.count, self.ns + other.ns)


class RequestCounts(msgspec.Struct):
    """What was counted of one graph, or of all graphs of one version."""

    #: Requests answered, and those that ended otherwise: from the checked request to the answer.
    success: Duration = msgspec.field(default_factory=Duration)
    fail: Duration = msgspec.field(default_factory=Duration)
    #: How long requests waited for their run.
    queue: Duration = msgspec.field(default_factory=Duration)
    #: Runs by the number of rows that were run together.
    runs: dict[int, Duration] = msgspec.field(default_factory=dict)
    #: Seconds since 1970 of the last answer; 0 where there was none.
    last: float = 0

    def plus(self, other: RequestCounts) -> RequestCounts:
        """Both together."""
        mine, others = dict(self.runs), dict(other.runs)  # copied at once: a run may end in another thread meanwhile
        runs = {
            rows: mine.get(rows, Duration()).plus(others.get(rows, Duration())) for rows in sorted({*mine, *others})
        }
        return RequestCounts(
            success=self.success.plus(other.success),
            fail=self.fail.plus(other.fail),
            queue=self.queue.plus(other.queue),
            runs=runs,
            last=max(self.last, other.last),
        )


class Statistics:
    """Counts of one server. Of each graph, runs are counted by one thread at a time and answers by the event loop."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, int], dict[str, RequestCounts]] = defaultdict(lambda: defaultdict(RequestCounts))

    def ran(self, model: str, version: int, graph: str, rows: int, seconds: float) -> None:
        """Count one run of a graph on ``rows`` rows."""
        runs = self._graphs[model, version][graph].runs
        duration = runs.get(rows)
        if duration is None:
            duration = runs[rows] = Duration()
        duration.count += 1
        duration.ns += int(seconds * 1e9)

    def waited(self, model: str, version: int, graph: str, seconds: Sequence[float]) -> None:
        """Count how long each request of a run had waited for it."""
        queue = self._graphs[model, version][graph].queue
        queue.count += len(seconds)
        queue.ns += int(sum(seconds) * 1e9)

    def unloaded(self, model: str, version: int) -> None:
        """Forget a version that is gone."""
        self._graphs.pop((model, version), None)

    def answered(self, model: str, version: int, graph: str, seconds: float, success: bool) -> None:
        """Count one request and how it ended."""
        counted = self._graphs[model, version][graph]
        duration = counted.success if success else counted.fail
        duration.count += 1
        duration.ns += int(seconds * 1e9)
        counted.last = time.time()

    def of(self, model: str, version: int) -> RequestCounts:
        """All that was counted of one version."""
        total = RequestCounts()
        for counted in list(self._graphs.get((model, version), {}).values()):
            total = total.plus(counted)
        return total

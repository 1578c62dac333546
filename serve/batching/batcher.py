"""Batcher: gathers the requests for one graph and runs them together.

There is no timer unless one is asked for. A run takes whatever waits when it starts: all that was read in one turn of
the event loop, or all that came in while the previous run was busy. Small graphs run in the event loop itself, where a
run costs less than handing it to a thread; slower ones run in a thread of their own, so that the loop goes on reading.
Either way a graph gets one run and then stands behind the others, so no model starves its neighbours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bookserve.errors import BookserveError, Failed, Overloaded
from bookserve.graph import Arrays, Graph
from bookserve.runtime.onnx import Session
from serve.batching.batch_config import BatchConfig, Padding
from serve.batching.request_context import CURRENT, RequestContext
from serve.batching.request_queue import BackgroundRuns, OnResult, PendingRequest, RequestQueue, unexpected_failure

#: A run expected to take longer than this many seconds leaves the event loop.
INLINE_SECONDS = 0.002


class Batcher:
    """Runs one graph for many callers of one event loop."""

    def __init__(
        self,
        graph: Graph,
        backend: Session,
        ran: Callable[[int, float], None],
        waited: Callable[[list[float]], None] = lambda _: None,
        batching: BatchConfig | None = None,
        padding: Padding | None = None,
    ) -> None:
        """``ran(rows, seconds)`` and ``waited([seconds of each request])`` are called for each run."""
        self._graph = graph
        self._batched = graph.batched
        #: Whether the shapes behind the batch axis are the same for all, so that they need not be compared.
        self._fixed = all(isinstance(axis, int) for spec in graph.inputs.values() for axis in spec.shape[1:])
        self._backend = backend
        self._ran = ran
        self._waited = waited
        self._batching = batching or BatchConfig()
        self._padding = padding
        self._queue = RequestQueue(self._batching.enough, self._batched)
        self._pieces = BackgroundRuns()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._seconds_per_row = 0.0
        self._thread: ThreadPoolExecutor | None = None

    def warm_up(self, feeds: Arrays) -> None:
        """Run outside any event loop, so that the first request finds memory laid out and the cost known.

        Raises:
            InvalidInput: the feeds do not fit the graph.
            Failed: the graph cannot be run.
        """
        rows = self._graph.check(feeds)
        if not self._seconds_per_row:
            self._backend.run(feeds)  # the first run lays out memory, so it says nothing of the cost
        self._timed(feeds, rows)

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """Run the graph on checked ``feeds`` of ``rows`` rows, together with whatever else waits.

        Raises:
            Overloaded: too many rows are waiting already.
            Expired: the caller's time is over, or the caller gone, before anything was run.
            Failed: the graph could not be run on these rows.
        """
        self._admit(rows)
        if self._padding:
            feeds = self._padding(feeds)
        call = CURRENT.get()
        if not self._too_large(rows):
            return await self._future(feeds, rows, call)
        most = self._batching.most
        starts = range(0, rows, most)
        pieces = [{name: array[start : start + most] for name, array in feeds.items()} for start in starts]
        parts = await asyncio.gather(
            *(self._future(piece, min(most, rows - start), call) for piece, start in zip(pieces, starts, strict=True))
        )
        return {name: np.concatenate([part[name] for part in parts]) for name in self._graph.outputs}

    def submit(self, feeds: Arrays, rows: int, call: RequestContext, done: OnResult) -> None:
        """``run`` without a task, for callers that have many small requests and nothing to wait for.

        ``done`` is told the outputs, or the error that ``run`` would raise, in a later turn of the event loop. Who
        gives up says so by ``call.gone``: a request that has not begun is then dropped, and ``done`` told ``Gone``.

        Raises:
            Overloaded: (at the call) too many rows are waiting already; ``done`` is not called.
        """
        if self._too_large(rows):
            self._pieces.start(self.run(feeds, rows), call, done)
            return
        self._admit(rows)
        self._wait(self._padding(feeds) if self._padding else feeds, rows, call, done)

    def close(self) -> None:
        """Let go of the thread, if there is one; what was submitted is still run."""
        if self._thread:
            self._thread.shutdown(wait=False)
            self._thread = None

    def _too_large(self, rows: int) -> bool:
        """Whether a request is run in pieces."""
        return rows > self._batching.most and self._batched

    def _admit(self, rows: int) -> None:
        """Refuse rows for which there is no place."""
        if self._is_full(rows):
            self._queue.sweep()
            if self._is_full(rows):
                raise Overloaded(f"{self._queue.rows:,} rows are waiting for this model already.", "Try again shortly.")

    def _is_full(self, rows: int) -> bool:
        return self._queue.rows + rows > self._batching.max_waiting and self._queue.rows > 0

    def _future(self, feeds: Arrays, rows: int, call: RequestContext) -> asyncio.Future[Arrays]:
        future: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

        def done(result: Arrays | BookserveError) -> None:
            if future.done():
                return
            if isinstance(result, BookserveError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._wait(feeds, rows, call, done, future.done)
        return future

    def _wait(
        self, feeds: Arrays, rows: int, call: RequestContext, done: OnResult, left: Callable[[], bool] | None = None
    ) -> None:
        key = () if self._fixed else tuple([feeds[name].shape[1:] for name in self._graph.inputs])
        self._queue.add(PendingRequest(feeds, rows, key, done, call, time.perf_counter(), left))
        if self._busy and not (self._timer and self._queue.rows >= self._batching.enough):
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._busy = True
        loop = asyncio.get_running_loop()
        loop.call_soon(self._turn, loop)  # behind whatever else was read in this turn of the loop

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next run, or rest."""
        self._timer = None
        if self._batching.max_delay and (patience := self._patience()) > 0:
            self._timer = loop.call_later(patience, self._turn, loop)
            return
        group = self._take()
        if not group:
            self._busy = False
        elif self._seconds_per_row * sum(item.rows for item in group) <= INLINE_SECONDS:
            start = time.perf_counter()
            self._settle(group, self._execute(group), start)
            loop.call_soon(self._turn, loop)
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="graph")
            start = time.perf_counter()
            running = loop.run_in_executor(self._thread, self._execute, group)

            def done(finished: asyncio.Future[list[Arrays | BookserveError]]) -> None:
                stopped = Failed("the server stopped.")
                self._settle(group, [stopped] * len(group) if finished.cancelled() else finished.result(), start)
                self._turn(loop)

            running.add_done_callback(done)

    def _patience(self) -> float:
        """Seconds that those who wait may still wait for others."""
        oldest = self._queue.oldest()
        if oldest is None or self._queue.rows >= self._batching.enough or not self._batched:
            return 0.0
        return oldest + self._batching.max_delay - time.perf_counter()

    def _take(self) -> list[PendingRequest]:
        now = time.perf_counter()
        group = self._queue.take(now)
        if group:
            self._waited([now - item.since for item in group])
        return group

    def _execute(self, group: list[PendingRequest]) -> list[Arrays | BookserveError]:
        """Run one group. If it fails as a whole, each request is run alone, so that none suffers for another."""
        if len(group) == 1:
            try:
                return [self._filled(group[0].feeds, group[0].rows)]
            except BookserveError as error:
                return [error]
            except Exception:  # whatever breaks in one run must not stop the next
                return [unexpected_failure()]
        try:
            feeds = {name: np.concatenate([item.feeds[name] for item in group]) for name in self._graph.inputs}
            outputs = self._filled(feeds, sum(item.rows for item in group))
        except Exception:
            return [result for item in group for result in self._execute([item])]
        results: list[Arrays | BookserveError] = []
        start = 0
        for item in group:
            end = start + item.rows
            results.append({name: array[start:end] for name, array in outputs.items()})
            start = end
        return results

    def _filled(self, feeds: Arrays, rows: int) -> Arrays:
        """Run a batch, filled up with copies of its last row where only some sizes are allowed."""
        more = self._batching.filled(rows) - rows if self._batched else 0
        if not more:
            return self._timed(feeds, rows)
        full = {name: np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) for name, array in feeds.items()}
        return {name: array[:rows] for name, array in self._timed(full, rows + more).items()}

    def _timed(self, feeds: Arrays, rows: int) -> Arrays:
        start = time.perf_counter()
        try:
            return self._backend.run(feeds)
        finally:
            seconds = time.perf_counter() - start
            per_row = seconds / max(rows, 1)
            # A moving average: one run that the machine interrupted does not banish a small graph to a thread.
            self._seconds_per_row += (per_row - self._seconds_per_row) * (0.2 if self._seconds_per_row else 1)
            self._ran(rows, seconds)

    @staticmethod
    def _settle(group: list[PendingRequest], results: Sequence[Arrays | BookserveError], start: float) -> None:
        for item, result in zip(group, results, strict=True):
            if item.call.trace is not None:
                item.call.trace.add_run(item.since, start, time.perf_counter(), len(group))
            item.tell(result)

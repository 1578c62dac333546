"""Batcher: gathers the requests for one graph and runs them together.

There is no timer unless one is asked for. A run takes whatever waits when it starts: all that was read in one turn of
the event loop, or all that came in while the previous run was busy. Small graphs run in the event loop itself, where a
run costs less than handing it to a thread; slower ones run in a thread of their own, so that the loop goes on reading.
Either way a graph gets one run and then stands behind the others, so no model starves its neighbours.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from bookserve.backend import Backend
from bookserve.errors import BookserveError, Failed, Overloaded
from bookserve.graph import Arrays, Graph
from serve.batching import Batching, Padding
from serve.call import CURRENT, PRIORITIES, UNKNOWN, Call

#: A run expected to take longer than this many seconds leaves the event loop.
INLINE_SECONDS = 0.002


class _Waiting(NamedTuple):
    feeds: Arrays
    rows: int
    #: Requests run together only if these agree: the shapes behind the batch axis.
    key: tuple[tuple[int, ...], ...]
    future: asyncio.Future[Arrays]
    call: Call
    #: When it began to wait.
    since: float


class Batcher:
    """Runs one graph for many callers of one event loop."""

    def __init__(
        self,
        graph: Graph,
        backend: Backend,
        ran: Callable[[int, float], None],
        waited: Callable[[list[float]], None] = lambda _: None,
        batching: Batching | None = None,
        padding: Padding | None = None,
    ) -> None:
        """``ran(rows, seconds)`` and ``waited([seconds of each request])`` are called for each run."""
        self._graph = graph
        self._backend = backend
        self._ran = ran
        self._waited = waited
        self._batching = batching or Batching()
        self._padding = padding
        self._queues: tuple[deque[_Waiting], ...] = tuple(deque() for _ in PRIORITIES)
        self._waiting_rows = 0
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
        most = self._batching.max_rows
        if self._waiting_rows + rows > self._batching.max_waiting and self._waiting_rows:
            self._sweep()
            if self._waiting_rows + rows > self._batching.max_waiting and self._waiting_rows:
                raise Overloaded(
                    f"{self._waiting_rows:,} rows are waiting for this model already.", "Try again shortly."
                )
        if self._padding:
            feeds = self._padding(feeds)
        if rows <= most or not self._graph.batched:
            return await self._submit(feeds, rows)
        starts = range(0, rows, most)
        pieces = [{name: array[start : start + most] for name, array in feeds.items()} for start in starts]
        parts = await asyncio.gather(
            *(self._submit(piece, min(most, rows - start)) for piece, start in zip(pieces, starts, strict=True))
        )
        return {name: np.concatenate([part[name] for part in parts]) for name in self._graph.outputs}

    def close(self) -> None:
        """Let go of the thread, if there is one; what was submitted is still run."""
        if self._thread:
            self._thread.shutdown(wait=False)
            self._thread = None

    def _submit(self, feeds: Arrays, rows: int) -> asyncio.Future[Arrays]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Arrays] = loop.create_future()
        key = tuple(feeds[name].shape[1:] for name in self._graph.inputs)
        call = CURRENT.get()
        self._queues[call.priority].append(_Waiting(feeds, rows, key, future, call, time.perf_counter()))
        self._waiting_rows += rows
        if not self._busy:
            self._busy = True
            loop.call_soon(self._turn, loop)  # behind whatever else was read in this turn of the loop
        elif self._timer and self._waiting_rows >= self._batching.max_rows:
            self._timer.cancel()
            self._timer = None
            loop.call_soon(self._turn, loop)
        return future

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
        oldest = [queue[0].since for queue in self._queues if queue]
        if not oldest or self._waiting_rows >= self._batching.max_rows or not self._graph.batched:
            return 0.0
        return min(oldest) + self._batching.max_delay - time.perf_counter()

    def _take(self) -> list[_Waiting]:
        """The most urgent request and those that fit into the same run; requests that nobody wants are dropped."""
        group: list[_Waiting] = []
        now = time.perf_counter()
        for queue in self._queues:
            if queue:
                self._gather(queue, group, now)
        if group:
            self._waited([now - item.since for item in group])
        return group

    def _gather(self, queue: deque[_Waiting], group: list[_Waiting], now: float) -> None:
        passed: list[_Waiting] = []
        most = self._batching.max_rows
        rows = sum(item.rows for item in group)
        while queue:
            item = queue.popleft()
            self._waiting_rows -= item.rows
            if _dropped(item, now):
                continue
            if group and (item.key != group[0].key or rows + item.rows > most or not self._graph.batched):
                passed.append(item)
                if len(passed) > 64:  # do not search a long queue of other shapes again and again
                    break
                continue
            group.append(item)
            rows += item.rows
        self._waiting_rows += sum(item.rows for item in passed)
        queue.extendleft(reversed(passed))

    def _sweep(self) -> None:
        """Free the places of requests that nobody wants any more."""
        now = time.perf_counter()
        for queue in self._queues:
            kept = [item for item in queue if not _dropped(item, now)]
            self._waiting_rows -= sum(item.rows for item in queue) - sum(item.rows for item in kept)
            queue.clear()
            queue.extend(kept)

    def _execute(self, group: list[_Waiting]) -> list[Arrays | BookserveError]:
        """Run one group. If it fails as a whole, each request is run alone, so that none suffers for another."""
        if len(group) == 1:
            try:
                return [self._filled(group[0].feeds, group[0].rows)]
            except BookserveError as error:
                return [error]
            except Exception:  # whatever breaks in one run must not stop the next
                logging.getLogger("bookserve").exception("a run failed")
                return [Failed("the server made a mistake.", "Its log says more.")]
        try:
            feeds = {name: np.concatenate([item.feeds[name] for item in group]) for name in self._graph.inputs}
            outputs = self._filled(feeds, sum(item.rows for item in group))
        except Exception:
            return [result for item in group for result in self._execute([item])]
        cuts = np.cumsum([item.rows for item in group])[:-1]
        split = {name: np.split(array, cuts) for name, array in outputs.items()}
        return [{name: arrays[index] for name, arrays in split.items()} for index in range(len(group))]

    def _filled(self, feeds: Arrays, rows: int) -> Arrays:
        """Run a batch, filled up with copies of its last row where only some sizes are allowed."""
        more = self._batching.filled(rows) - rows if self._graph.batched else 0
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
    def _settle(group: list[_Waiting], results: Sequence[Arrays | BookserveError], start: float) -> None:
        for item, result in zip(group, results, strict=True):
            if item.call.trace is not None:
                item.call.trace.ran(item.since, start, time.perf_counter(), len(group))
            if item.future.done():
                continue
            if isinstance(result, BookserveError):
                item.future.set_exception(result)
            else:
                item.future.set_result(result)


def _dropped(item: _Waiting, now: float) -> bool:
    """Whether nobody wants this request any more; whoever still listens is told why."""
    if item.future.done():
        return True
    if item.call is UNKNOWN or not (reason := item.call.dropped(now)):
        return False
    item.future.set_exception(reason)
    return True

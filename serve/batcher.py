"""Batcher: gathers the requests for one graph and runs them together.

There is no timer. A run takes whatever waits when it starts: all that was read in one turn of the event loop, or all
that came in while the previous run was busy. Small graphs run in the event loop itself, where a run costs less than
handing it to a thread; slower ones run in a thread of their own, so that the loop goes on reading.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from bookserve.backend import Backend
from bookserve.errors import BookserveError, Failed, Overloaded
from bookserve.graph import Arrays, Graph

#: Rows that one run takes at most; a larger request is cut into pieces of this size.
MAX_ROWS = 256
#: Rows that may wait for one graph before new requests are turned away.
MAX_WAITING = 16_384
#: A run expected to take longer than this many seconds leaves the event loop.
INLINE_SECONDS = 0.002


class _Waiting(NamedTuple):
    feeds: Arrays
    rows: int
    #: Requests run together only if these agree: the shapes behind the batch axis.
    key: tuple[tuple[int, ...], ...]
    future: asyncio.Future[Arrays]


class Batcher:
    """Runs one graph for many callers of one event loop. ``ran(rows, seconds)`` is called after each run."""

    def __init__(self, graph: Graph, backend: Backend, ran: Callable[[int, float], None]) -> None:
        self._graph = graph
        self._backend = backend
        self._ran = ran
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._busy = False
        self._seconds_per_row = 0.0
        self._thread: ThreadPoolExecutor | None = None

    def warm_up(self, feeds: Arrays) -> None:
        """Run once outside any event loop, so that the first request finds memory laid out and the cost known.

        Raises:
            Failed: the graph cannot be run.
        """
        rows = self._graph.check(feeds)
        self._backend.run(feeds)
        self._timed(feeds, rows)

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """Run the graph on checked ``feeds`` of ``rows`` rows, together with whatever else waits.

        Raises:
            Overloaded: too many rows are waiting already.
            Failed: the graph could not be run on these rows.
        """
        if self._waiting_rows + rows > MAX_WAITING and self._waiting_rows:
            raise Overloaded(f"{self._waiting_rows:,} rows are waiting for this model already.", "Try again shortly.")
        if rows <= MAX_ROWS or not self._graph.batched:
            return await self._submit(feeds, rows)
        starts = range(0, rows, MAX_ROWS)
        pieces = [{name: array[start : start + MAX_ROWS] for name, array in feeds.items()} for start in starts]
        parts = await asyncio.gather(
            *(self._submit(piece, min(MAX_ROWS, rows - start)) for piece, start in zip(pieces, starts, strict=True))
        )
        return {name: np.concatenate([part[name] for part in parts]) for name in self._graph.outputs}

    def close(self) -> None:
        """Let go of the thread, if there is one."""
        if self._thread:
            self._thread.shutdown(wait=False)

    def _submit(self, feeds: Arrays, rows: int) -> asyncio.Future[Arrays]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Arrays] = loop.create_future()
        key = tuple(feeds[name].shape[1:] for name in self._graph.inputs)
        self._waiting.append(_Waiting(feeds, rows, key, future))
        self._waiting_rows += rows
        if not self._busy:
            self._busy = True
            loop.call_soon(self._turn, loop)  # behind whatever else was read in this turn of the loop
        return future

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next run, or rest."""
        group = self._take()
        if not group:
            self._busy = False
        elif self._seconds_per_row * sum(item.rows for item in group) <= INLINE_SECONDS:
            self._settle(group, self._execute(group))
            loop.call_soon(self._turn, loop)
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="graph")
            running = loop.run_in_executor(self._thread, self._execute, group)

            def done(finished: asyncio.Future[list[Arrays | BookserveError]]) -> None:
                stopped = Failed("the server stopped.")
                self._settle(group, [stopped] * len(group) if finished.cancelled() else finished.result())
                self._turn(loop)

            running.add_done_callback(done)

    def _take(self) -> list[_Waiting]:
        """The oldest request and those behind it that fit into the same run; requests given up are dropped."""
        group: list[_Waiting] = []
        passed: list[_Waiting] = []
        rows = 0
        while self._waiting:
            item = self._waiting.popleft()
            self._waiting_rows -= item.rows
            if item.future.done():
                continue
            if group and (item.key != group[0].key or rows + item.rows > MAX_ROWS or not self._graph.batched):
                passed.append(item)
                if len(passed) > 64:  # do not search a long queue of other shapes again and again
                    break
                continue
            group.append(item)
            rows += item.rows
        self._waiting_rows += sum(item.rows for item in passed)
        self._waiting.extendleft(reversed(passed))
        return group

    def _execute(self, group: list[_Waiting]) -> list[Arrays | BookserveError]:
        """Run one group. If it fails as a whole, each request is run alone, so that none suffers for another."""
        if len(group) == 1:
            try:
                return [self._timed(group[0].feeds, group[0].rows)]
            except BookserveError as error:
                return [error]
        feeds = {name: np.concatenate([item.feeds[name] for item in group]) for name in self._graph.inputs}
        try:
            outputs = self._timed(feeds, sum(item.rows for item in group))
        except BookserveError:
            return [result for item in group for result in self._execute([item])]
        cuts = np.cumsum([item.rows for item in group])[:-1]
        split = {name: np.split(array, cuts) for name, array in outputs.items()}
        return [{name: arrays[index] for name, arrays in split.items()} for index in range(len(group))]

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
    def _settle(group: list[_Waiting], results: Sequence[Arrays | BookserveError]) -> None:
        for item, result in zip(group, results, strict=True):
            if item.future.done():
                continue
            if isinstance(result, BookserveError):
                item.future.set_exception(result)
            else:
                item.future.set_result(result)

"""Batcher: gathers the requests for one graph and runs them together.

There is no timer unless ``max_delay`` is set. A run takes whatever waits when it starts: all requests that were read in
one turn of the event loop, or that came in during the previous run. Small graphs run in the event loop itself, where a
run costs less than handing it to a thread. Slower ones run in a thread of their own, so that the loop goes on reading.
After each run a graph goes to the end of the event loop's queue, so no model starves the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bookserve.errors import BookserveError, Failed, Overloaded
from bookserve.graph import Arrays, Graph
from bookserve.runtime import Session
from serve.batching.batch_config import BatchConfig, Padding
from serve.batching.request_queue import BackgroundRuns, OnResult, PendingRequest, RequestQueue, unexpected_failure
from serve.request_context import CURRENT, RequestContext

#: A run expected to take longer than this many seconds leaves the event loop.
INLINE_SECONDS = 0.002


class Batcher:
    """Runs one graph for many callers of one event loop."""

    def __init__(
        self,
        graph: Graph,
        session: Session,
        on_run: Callable[[int, float], None],
        on_wait: Callable[[list[float]], None] = lambda _: None,
        batching: BatchConfig | None = None,
        padding: Padding | None = None,
    ) -> None:
        """For each run ``on_run(rows, seconds)`` and ``on_wait([seconds that each request waited])`` are called."""
        self._graph = graph
        self._batched = graph.batched
        #: Whether the shapes behind the batch axis are the same for all, so that they need not be compared.
        self._fixed = all(isinstance(axis, int) for spec in graph.inputs.values() for axis in spec.shape[1:])
        self._session = session
        self._on_run = on_run
        self._on_wait = on_wait
        self._batching = batching or BatchConfig()
        self._padding = padding
        self._queue = RequestQueue(self._batching.join_limit, self._batched)
        self._runs_in_pieces = BackgroundRuns()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._seconds_per_row = 0.0
        self._thread: ThreadPoolExecutor | None = None
        self._any_shape: Batcher | None = None

    def of_any_shape(self) -> Batcher:
        """Runs the same session on tensors of any shape, each request alone: the runtime says whether it takes them."""
        if self._any_shape is None:
            self._any_shape = Batcher(
                self._graph.of_any_shape(), self._session, self._on_run, self._on_wait, self._batching
            )
        return self._any_shape

    def warm_up(self, feeds: Arrays) -> None:
        """Run outside any event loop, so that the first request finds memory laid out and the cost known.

        Raises:
            InvalidInput: the feeds do not fit the graph.
            Failed: the graph cannot be run.
        """
        rows = self._graph.check(feeds)
        if not self._seconds_per_row:
            self._session.run(feeds)  # the first run lays out memory, so it says nothing of the cost
        self._run_timed(feeds, rows)

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """Run the graph on checked ``feeds`` of ``rows`` rows, together with whatever else waits.

        Raises:
            Overloaded: too many rows are waiting already.
            DeadlineExceeded, ClientDisconnected: before the run the caller's time was over, or the caller gone.
            InvalidInput, Failed: the graph could not be run on these rows; see ``Session.run``.
        """
        context = CURRENT.get()
        if self._needs_pieces(rows):
            return await self._run_in_pieces(feeds, rows, context)
        self._admit(rows)
        return await self._future(self._padding(feeds) if self._padding else feeds, rows, context)

    def submit(self, feeds: Arrays, rows: int, context: RequestContext, on_result: OnResult) -> None:
        """``run`` for callers without a task: ``on_result`` gets the outputs or the error in a later turn of the loop.

        A caller that leaves says so by ``context.gone``: a request that has not begun is then dropped, and its result
        is ``ClientDisconnected``.

        Raises:
            Overloaded: (at the call) too many rows are waiting already; ``on_result`` is not called.
        """
        if self._needs_pieces(rows):
            self._runs_in_pieces.start(self._run_in_pieces(feeds, rows, context), context, on_result)
            return
        self._admit(rows)
        self._enqueue(self._padding(feeds) if self._padding else feeds, rows, context, on_result)

    def close(self) -> None:
        """End the thread, if there is one; what was submitted is still run."""
        if self._thread:
            self._thread.shutdown(wait=False)
            self._thread = None
        if self._any_shape is not None:
            self._any_shape.close()

    def _needs_pieces(self, rows: int) -> bool:
        return rows > self._batching.run_limit and self._batched

    async def _run_in_pieces(self, feeds: Arrays, rows: int, context: RequestContext) -> Arrays:
        """Run a request that is too large for one run; see ``run``."""
        self._admit(rows)
        if self._padding:
            feeds = self._padding(feeds)
        limit = self._batching.run_limit
        parts = await asyncio.gather(
            *(
                self._future(
                    {name: array[start : start + limit] for name, array in feeds.items()},
                    min(limit, rows - start),
                    context,
                )
                for start in range(0, rows, limit)
            )
        )
        return {name: np.concatenate([part[name] for part in parts]) for name in self._graph.outputs}

    def _admit(self, rows: int) -> None:
        """Refuse rows if too many are waiting.

        Raises:
            Overloaded: too many are, even without those that are not wanted any more.
        """
        if self._is_full(rows):
            self._queue.drop_unwanted()
            if self._is_full(rows):
                raise Overloaded(f"{self._queue.rows:,} rows are waiting for this model already.", "Try again shortly.")

    def _is_full(self, rows: int) -> bool:
        return self._queue.rows + rows > self._batching.max_waiting and self._queue.rows > 0

    def _future(self, feeds: Arrays, rows: int, context: RequestContext) -> asyncio.Future[Arrays]:
        """Enqueue a request whose result is a future; cancelling the future abandons the request."""
        future: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

        def set_result(result: Arrays | BookserveError) -> None:
            if future.done():
                return
            if isinstance(result, BookserveError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._enqueue(feeds, rows, context, set_result, future.done)
        return future

    def _enqueue(
        self,
        feeds: Arrays,
        rows: int,
        context: RequestContext,
        on_result: OnResult,
        is_abandoned: Callable[[], bool] | None = None,
    ) -> None:
        """Let a request wait, and have the next run started if none is under way."""
        shapes = () if self._fixed else tuple([feeds[name].shape[1:] for name in self._graph.inputs])
        self._queue.add(PendingRequest(feeds, rows, shapes, on_result, context, time.perf_counter(), is_abandoned))
        if self._busy and not (self._timer and self._queue.rows >= self._batching.join_limit):
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._busy = True
        loop = asyncio.get_running_loop()
        loop.call_soon(self._start_next_run, loop)  # behind whatever else was read in this turn of the loop

    def _start_next_run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next run, if any request waits."""
        self._timer = None
        if self._batching.max_delay and (delay := self._remaining_delay()) > 0:
            self._timer = loop.call_later(delay, self._start_next_run, loop)
            return
        group = self._take_group()
        if not group:
            self._busy = False
        elif self._seconds_per_row * sum(request.rows for request in group) <= INLINE_SECONDS:
            start = time.perf_counter()
            self._deliver_results(group, self._run_group(group), start)
            # Callers wake up in the next turn, and what they write is sent at its end: the run after that may be long.
            loop.call_soon(loop.call_soon, self._start_next_run, loop)
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="graph")
            start = time.perf_counter()
            running = loop.run_in_executor(self._thread, self._run_group, group)

            def finish(finished: asyncio.Future[list[Arrays | BookserveError]]) -> None:
                stopped = Failed("the server stopped.")
                results = [stopped] * len(group) if finished.cancelled() else finished.result()
                self._deliver_results(group, results, start)
                self._start_next_run(loop)

            running.add_done_callback(finish)

    def _remaining_delay(self) -> float:
        """Seconds that the requests in the queue may still wait for others."""
        oldest = self._queue.oldest_arrival()
        if oldest is None or self._queue.rows >= self._batching.join_limit or not self._batched:
            return 0.0
        return oldest + self._batching.max_delay - time.perf_counter()

    def _take_group(self) -> list[PendingRequest]:
        now = time.perf_counter()
        group = self._queue.take_group(now)
        if group:
            self._on_wait([now - request.queued_at for request in group])
        return group

    def _run_group(self, group: list[PendingRequest]) -> list[Arrays | BookserveError]:
        """Run a group of requests. If the run fails, each request is run alone, so that none suffers for another."""
        if len(group) == 1:
            try:
                return [self._run_filled_up(group[0].feeds, group[0].rows)]
            except BookserveError as error:
                return [error]
            except Exception:  # whatever breaks in one run must not stop the next
                return [unexpected_failure()]
        try:
            feeds = {name: np.concatenate([request.feeds[name] for request in group]) for name in self._graph.inputs}
            outputs = self._run_filled_up(feeds, sum(request.rows for request in group))
        except Exception:
            return [result for request in group for result in self._run_group([request])]
        results: list[Arrays | BookserveError] = []
        start = 0
        for request in group:
            end = start + request.rows
            results.append({name: array[start:end] for name, array in outputs.items()})
            start = end
        return results

    def _run_filled_up(self, feeds: Arrays, rows: int) -> Arrays:
        """Run a batch, filled up with copies of its last row where only some sizes are allowed."""
        missing = self._batching.allowed_size(rows) - rows if self._batched else 0
        if not missing:
            return self._run_timed(feeds, rows)
        full = {name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for name, array in feeds.items()}
        return {name: array[:rows] for name, array in self._run_timed(full, rows + missing).items()}

    def _run_timed(self, feeds: Arrays, rows: int) -> Arrays:
        start = time.perf_counter()
        try:
            return self._session.run(feeds)
        finally:
            seconds = time.perf_counter() - start
            per_row = seconds / max(rows, 1)
            # A moving average: one run that the machine interrupted does not banish a small graph to a thread.
            self._seconds_per_row += (per_row - self._seconds_per_row) * (0.2 if self._seconds_per_row else 1)
            self._on_run(rows, seconds)

    @staticmethod
    def _deliver_results(group: list[PendingRequest], results: Sequence[Arrays | BookserveError], start: float) -> None:
        for request, result in zip(group, results, strict=True):
            if request.context.trace is not None:
                request.context.trace.add_run(request.queued_at, start, time.perf_counter(), len(group))
            request.deliver(result)

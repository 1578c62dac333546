"""The requests that wait for one graph, by priority."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from bookserve.errors import BookserveError, Failed
from bookserve.graph import Arrays
from serve.request_context import CURRENT, PRIORITIES, UNKNOWN, RequestContext

#: Takes the result of a request: its outputs, or the error. It is called once, in the event loop.
OnResult = Callable[[Arrays | BookserveError], None]


class PendingRequest(NamedTuple):
    """One request that waits."""

    feeds: Arrays
    rows: int
    #: The shapes behind the batch axis. Requests run together only if these are equal.
    shapes: tuple[tuple[int, ...], ...]
    on_result: OnResult
    context: RequestContext
    #: When it began to wait, in seconds of ``time.perf_counter``.
    queued_at: float
    #: Whether the caller takes no result any more, so that ``on_result`` need not be called.
    is_abandoned: Callable[[], bool] | None = None

    def drop_if_unwanted(self, now: float) -> bool:
        """Whether this request need not be run any more; if its caller still takes a result, that is the reason."""
        if self.is_abandoned is not None and self.is_abandoned():
            return True
        if self.context is UNKNOWN or not (reason := self.context.drop_reason(now)):
            return False
        self.deliver(reason)
        return True

    def deliver(self, result: Arrays | BookserveError) -> None:
        """Call ``on_result``. If it fails, that is logged: other requests of the same run must not suffer."""
        try:
            self.on_result(result)
        except Exception:
            logging.getLogger("bookserve").exception("an answer was lost")


class BackgroundRuns:
    """Coroutines that run in tasks of their own for callers without a task. Kept here, since the event loop holds tasks
    only weakly."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, running: Coroutine[Any, Any, Arrays], context: RequestContext, on_result: OnResult) -> None:
        """Run it as part of the request ``context``, and hand its outputs or its error to ``on_result``."""

        async def run_and_deliver() -> None:
            CURRENT.set(context)
            try:
                result: Arrays | BookserveError = await running
            except BookserveError as error:
                result = error
            except Exception:
                result = unexpected_failure()
            on_result(result)

        task = asyncio.get_running_loop().create_task(run_and_deliver())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def unexpected_failure() -> Failed:
    """The error that a caller gets for the exception that is being handled, which is logged."""
    logging.getLogger("bookserve").exception("a run failed")
    return Failed("the server made a mistake.", "Its log says more.")


class RequestQueue:
    """The requests that wait for one graph, the urgent ones first."""

    def __init__(self, join_limit: int, batched: bool) -> None:
        """Several requests share a run only if the graph is ``batched`` and they have at most ``join_limit`` rows."""
        self._join_limit = join_limit
        self._batched = batched
        self._queues: tuple[deque[PendingRequest], ...] = tuple(deque() for _ in PRIORITIES)
        #: Rows that wait.
        self.rows = 0

    def add(self, request: PendingRequest) -> None:
        """Let a request wait."""
        self._queues[request.context.priority].append(request)
        self.rows += request.rows

    def oldest_arrival(self) -> float | None:
        """When the request arrived that waits the longest; None if none waits."""
        return min((queue[0].queued_at for queue in self._queues if queue), default=None)

    def take_group(self, now: float) -> list[PendingRequest]:
        """Remove the most urgent request and those that fit into the same run.

        Requests that are not wanted any more are dropped.
        """
        group: list[PendingRequest] = []
        rows = 0
        for queue in self._queues:
            passed: list[PendingRequest] = []
            for request in self._pop_wanted(queue, now):
                if group and (
                    request.shapes != group[0].shapes or rows + request.rows > self._join_limit or not self._batched
                ):
                    passed.append(request)
                    if len(passed) > 64:  # do not search a long queue of other shapes again and again
                        break
                else:
                    group.append(request)
                    rows += request.rows
            queue.extendleft(reversed(passed))
        self.rows -= rows
        return group

    def drop_unwanted(self) -> None:
        """Drop requests that are not wanted any more, so that others may wait in their place."""
        now = time.perf_counter()
        for queue in self._queues:
            queue.extend(list(self._pop_wanted(queue, now)))

    def _pop_wanted(self, queue: deque[PendingRequest], now: float) -> Iterator[PendingRequest]:
        """Take one request after the other, and drop those that are not wanted any more."""
        while queue:
            request = queue.popleft()
            if request.drop_if_unwanted(now):
                self.rows -= request.rows
            else:
                yield request

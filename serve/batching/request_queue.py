"""Waiting: the requests for one graph that have not been run yet, the urgent ones first."""

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

#: Is told how a request ended: its outputs, or why there are none. Called once, in the event loop.
OnResult = Callable[[Arrays | BookserveError], None]


class PendingRequest(NamedTuple):
    """One request."""

    feeds: Arrays
    rows: int
    #: Requests run together only if these agree: the shapes behind the batch axis.
    key: tuple[tuple[int, ...], ...]
    done: OnResult
    call: RequestContext
    #: When it began to wait.
    since: float
    #: Whether nobody listens to ``done`` any more, so that it need not be told.
    left: Callable[[], bool] | None = None

    def dropped(self, now: float) -> bool:
        """Whether nobody wants this request any more; whoever still listens is told why."""
        if self.left is not None and self.left():
            return True
        if self.call is UNKNOWN or not (reason := self.call.dropped(now)):
            return False
        self.tell(reason)
        return True

    def tell(self, result: Arrays | BookserveError) -> None:
        """Call ``done``; what one caller makes of its answer must not cost the others theirs."""
        try:
            self.done(result)
        except Exception:
            logging.getLogger("bookserve").exception("an answer was lost")


class BackgroundRuns:
    """Runs that take a task although who asked has none; kept, since nobody else holds them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, running: Coroutine[Any, Any, Arrays], call: RequestContext, done: OnResult) -> None:
        """Run it as part of ``call``, and tell ``done`` how it ended."""

        async def whole() -> None:
            CURRENT.set(call)
            try:
                result: Arrays | BookserveError = await running
            except BookserveError as error:
                result = error
            except Exception:
                result = unexpected_failure()
            done(result)

        task = asyncio.get_running_loop().create_task(whole())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def unexpected_failure() -> Failed:
    """What a caller is told of the exception at hand, which the log gets."""
    logging.getLogger("bookserve").exception("a run failed")
    return Failed("the server made a mistake.", "Its log says more.")


class RequestQueue:
    """What waits for one graph."""

    def __init__(self, enough: int, together: bool) -> None:
        """More requests than one share a run only if they may run ``together`` and have at most ``enough`` rows."""
        self._enough = enough
        self._together = together
        self._queues: tuple[deque[PendingRequest], ...] = tuple(deque() for _ in PRIORITIES)
        #: Rows that wait.
        self.rows = 0

    def add(self, item: PendingRequest) -> None:
        """Let a request wait."""
        self._queues[item.call.priority].append(item)
        self.rows += item.rows

    def oldest(self) -> float | None:
        """Since when the request waits that waits the longest."""
        return min((queue[0].since for queue in self._queues if queue), default=None)

    def take(self, now: float) -> list[PendingRequest]:
        """The most urgent request and those that fit into the same run; requests that nobody wants are dropped."""
        group: list[PendingRequest] = []
        rows = 0
        for queue in self._queues:
            passed: list[PendingRequest] = []
            for item in self._wanted(queue, now):
                if group and (item.key != group[0].key or rows + item.rows > self._enough or not self._together):
                    passed.append(item)
                    if len(passed) > 64:  # do not search a long queue of other shapes again and again
                        break
                else:
                    group.append(item)
                    rows += item.rows
            queue.extendleft(reversed(passed))
        self.rows -= rows
        return group

    def sweep(self) -> None:
        """Free the places of requests that nobody wants any more."""
        now = time.perf_counter()
        for queue in self._queues:
            queue.extend(list(self._wanted(queue, now)))

    def _wanted(self, queue: deque[PendingRequest], now: float) -> Iterator[PendingRequest]:
        """Take one after the other, and drop those that nobody wants."""
        while queue:
            item = queue.popleft()
            if item.dropped(now):
                self.rows -= item.rows
            else:
                yield item

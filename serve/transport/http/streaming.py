# ruff: noqa: TID253
"""Responses that are sent while they are generated, and stop when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class EventStream(StreamingResponse):
    """A response of server-sent events.

    Starlette's own streaming response cancels only when the event loop is idle for a moment; while a small graph runs
    in the event loop, it may never be. It also leaves the iterator of a client that has gone to the garbage collector,
    and with it the tasks that work for it.
    """

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        """Each item of ``events`` is one or more complete events."""
        self._events = events
        super().__init__(events, headers={"cache-control": "no-store"}, media_type="text/event-stream; charset=utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await unless_disconnected(receive, self.stream_response(send))


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Await ``work``; if the client disconnects first, cancel it and return None."""
    task, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(_until_disconnected(receive))
    disconnected.add_done_callback(lambda _: task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        if not disconnected.done():
            raise
        return None
    finally:
        disconnected.cancel()


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

# ruff: noqa: TID253
"""Events: answers of any door that are sent while they are made, and given up when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class EventStream(StreamingResponse):
    """Server-sent events.

    Starlette's own response waits for a moment at which nothing is ready before it cancels, and while a small graph
    runs in the event loop there may be none.
    """

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        """``events`` are whole ones, one or several at a time."""
        super().__init__(events, headers={"cache-control": "no-store"}, media_type="text/event-stream; charset=utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_disconnected(receive, self.stream_response(send))


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Await ``work``, but stop it as soon as the client closes the connection; None then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_disconnected(receive))
    gone.add_done_callback(lambda _: task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        if not gone.done():
            raise
        return None
    finally:
        gone.cancel()


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

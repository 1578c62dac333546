# ruff: noqa: TID253
"""Express: the short way of the commonest HTTP requests – one small POST in, one answer out, without ASGI.

A door offers a function that either answers a request or leaves it. What it leaves, and everything unusual (other
methods and headers, bodies that are large or of unknown length, pipelined requests), goes through the application,
which answers alike. All of uvicorn's own duties stay its own: parsing, keep-alive, back-pressure, the end of a server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

#: Bytes of the longest body: past this uvicorn stops reading until the application asks for more.
LONGEST = HIGH_WATER_LIMIT
#: Headers that change nothing about an answer, or that the doors' functions read.
_HEADERS = frozenset(
    b"host user-agent accept accept-encoding accept-language content-type content-length connection "
    b"inference-header-content-length".split()
)


_CODINGS = (b"gzip", b"deflate")


class Answer(NamedTuple):
    """What goes back: a status, the body, and headers beside its length."""

    status: int
    content: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


_BROKEN = Answer(500, b'{"error":"the server made a mistake. Its log says more."}')

#: Takes a path as it was sent, the headers and the body; None leaves the request to the application.
Quick = Callable[[bytes, Mapping[bytes, bytes], bytes], Coroutine[Any, Any, Answer] | None]


def either(*ways: Quick) -> Quick:
    """The first of ``ways`` that takes a request."""

    def begin(path: bytes, headers: Mapping[bytes, bytes], body: bytes) -> Coroutine[Any, Any, Answer] | None:
        return next((taken for way in ways if (taken := way(path, headers, body))), None)

    return begin


class _NoEvent:
    """Stands for the event by which uvicorn wakes a waiting application: here nobody waits."""

    def set(self) -> None:
        pass


class _Cycle:
    """One request under way, with what uvicorn asks of such."""

    __slots__ = ("body", "disconnected", "keep_alive", "more_body", "response_complete", "task")
    message_event = _NoEvent()
    response_started = False  # an answer is written as a whole

    def __init__(self, keep_alive: bool) -> None:
        self.body = bytearray()
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = self.response_complete = False
        self.task: asyncio.Task[None] | None = None


class Express(HttpToolsProtocol):
    """uvicorn's connection, with the short way in front of the application. ``protocol.py`` makes the class to use."""

    _quick: Quick

    def on_headers_complete(self) -> None:
        free = self.cycle is None or self.cycle.response_complete
        if free and self._is_common():
            self.cycle = _Cycle(self.parser.should_keep_alive())  # type: ignore[assignment]
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        if type(cycle) is not _Cycle:
            super().on_message_complete()
            return
        try:
            coroutine = self._quick(self.url, dict(self.headers), bytes(cycle.body))
        except Exception:  # the application will stumble, too, and say so
            coroutine = None
        if coroutine is None:
            self.cycle = None  # type: ignore[assignment]
            super().on_headers_complete()
            self.cycle.body = cycle.body
            super().on_message_complete()
            return
        cycle.task = self.loop.create_task(self._answer(cycle, coroutine))
        self.tasks.add(cycle.task)
        cycle.task.add_done_callback(self.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        cycle: Any = self.cycle
        super().connection_lost(exc)
        if type(cycle) is _Cycle and cycle.task:
            cycle.task.cancel()  # nobody waits for it any more

    def _is_common(self) -> bool:
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1" or b"%" in self.url:
            return False
        names = [name for name, _ in self.headers]
        if not _HEADERS.issuperset(names) or len(set(names)) < len(names):
            return False
        headers = dict(self.headers)
        if headers.get(b"accept-encoding", b"").lower() in _CODINGS:  # the application packs the answer
            return False
        length = headers.get(b"content-length", b"")
        return length.isdigit() and int(length) <= LONGEST

    async def _answer(self, cycle: _Cycle, coroutine: Coroutine[Any, Any, Answer]) -> None:
        try:
            status, content, headers = await coroutine
        except Exception:
            logging.getLogger("bookserve").exception("POST %s failed", self.url.decode("latin-1"))
            status, content, headers = _BROKEN
        if self.flow.write_paused:
            await self.flow.drain()
        if self.transport.is_closing():
            return
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(content))
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        parts.append(content)
        self.transport.write(b"".join(parts))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

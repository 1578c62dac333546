# ruff: noqa: TID253
"""Express: the short way of the commonest HTTP requests – one POST in, one answer out, without ASGI or a task.

A door says of a path and its headers whether it takes such requests, and then takes or leaves each body. What it
leaves, and everything unusual (other methods and headers, bodies that are large or of unknown length, pipelined
requests), goes through the application, which answers alike. All of uvicorn's own duties stay its own: parsing,
keep-alive, back-pressure, the end of a server. A client sends nearly the same head again and again, so what a head
means is kept, and one that was read before is not parsed again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from serve.batching.request_queue import OnResult
from serve.request_context import RequestContext

#: Bytes of the longest body. Numbers are read so fast that handing the body to the application, piece by piece, would
#: cost more; what has to become Python objects is left to it, which reads long bodies in a thread.
LONGEST = 4 << 20
#: Headers that change nothing about an answer, or that the doors' functions read.
_HEADERS = frozenset(
    b"host user-agent accept accept-encoding accept-language content-type content-length connection "
    b"inference-header-content-length".split()
)
_CODINGS = (b"gzip", b"deflate")
#: Bytes of a head that is kept, and how many of them.
_LONG, _MANY = 1024, 1024


class FastResponse(NamedTuple):
    """What goes back: a status, the body, and headers beside its length, as they are sent."""

    status: int
    content: bytes
    headers: bytes = b"content-type: application/json\r\n"


_BROKEN = FastResponse(500, b'{"error":"the server made a mistake. Its log says more."}')

#: Is given the answer, once, in the event loop.
SendResponse = Callable[[FastResponse], None]
#: Takes a body, the call (``gone`` says whether the client has left) and what to give the answer to, now or later.
#: False leaves this request to the application.
FastHandler = Callable[[bytes, RequestContext, SendResponse], bool]
#: Tells from a path as it was sent and the headers what takes such requests; None leaves them to the application.
FastRoute = Callable[[bytes, Mapping[bytes, bytes]], FastHandler | None]


def first_route(*ways: FastRoute) -> FastRoute:
    """The first of ``ways`` that takes a request."""

    def find(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
        return next((taken for way in ways if (taken := way(path, headers))), None)

    return find


def on_result(reply: SendResponse, answer: Callable[[Arrays | BookserveError], FastResponse]) -> OnResult:
    """What takes the result of a run, and gives to ``reply`` what ``answer`` makes of it."""

    def done(result: Arrays | BookserveError) -> None:
        try:
            made = answer(result)
        except Exception:
            logging.getLogger("bookserve").exception("a request failed")
            made = _BROKEN
        reply(made)

    return done


class _Head(NamedTuple):
    """What the line and the headers of a request mean."""

    take: FastHandler
    #: Bytes of the body.
    length: int
    keep_alive: bool


class _NoEvent:
    """Stands for the event by which uvicorn wakes a waiting application: here nobody waits."""

    def set(self) -> None:
        pass


class _Cycle:
    """One request under way, with what uvicorn asks of such."""

    __slots__ = ("begun", "body", "connection", "disconnected", "head", "keep_alive", "more_body", "response_complete")
    message_event = _NoEvent()
    response_started = False  # an answer is written as a whole

    def __init__(self, connection: FastPathProtocol, head: _Head) -> None:
        self.connection = connection
        self.head = head
        self.keep_alive = head.keep_alive
        self.body = bytearray()
        self.more_body = True
        self.begun = self.disconnected = self.response_complete = False

    def gone(self) -> bool:
        """Whether the client has left."""
        return self.disconnected

    def begin(self, body: bytes) -> bool:
        """Whether a door takes the request."""
        try:
            self.begun = self.head.take(body, RequestContext(gone=self.gone), self.reply)
        except Exception:  # the application will stumble, too, and say so
            return False
        return self.begun

    def reply(self, answer: FastResponse) -> None:
        """Give the answer: not before ``begin`` has ended, since the parser may be in the middle of what was read."""
        if self.begun:
            self.connection.answer(self, answer)
        else:
            self.connection.loop.call_soon(self.connection.answer, self, answer)


class FastPathProtocol(HttpToolsProtocol):
    """uvicorn's connection, with the short way in front of the application. ``protocol.py`` makes the class to use."""

    _quick: FastRoute
    #: Bytes of the longest body that is taken.
    _longest = LONGEST
    #: What the heads mean that were read last, of all connections.
    _heads: ClassVar[dict[bytes, _Head]] = {}
    #: The head at hand, if it may be kept.
    _fresh: _Head | None = None
    #: Whether the application gets what is read now.
    _left = False
    #: Whether the parser is in the middle of a request; ``protocol.py`` keeps it.
    _arriving = False

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``. A known head is not parsed again if all its body came with it, and nothing else."""
        if not self._is_free() or self._arriving:
            super().data_received(data)
            return
        end = data.find(b"\r\n\r\n", 0, _LONG) + 4
        head = self._heads.get(data[:end])
        if head is not None and len(data) == end + head.length:
            self._unset_keepalive_if_required()
            self.cycle = cycle = _Cycle(self, head)  # type: ignore[assignment]
            if not cycle.begin(data[end:]):
                self.cycle = None  # type: ignore[assignment]
                self._left = True
                super().data_received(data)
            return
        self._fresh = None
        super().data_received(data)
        if self._fresh and len(data) == end + self._fresh.length and not self._arriving:
            if len(self._heads) >= _MANY:
                self._heads.clear()
            self._heads[data[:end]] = self._fresh

    def on_headers_complete(self) -> None:
        head = None if self._left or not self._is_free() else self._meant()
        self._left = False
        if head:
            self._fresh = head
            self.cycle = _Cycle(self, head)  # type: ignore[assignment]
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if type(cycle) is _Cycle:  # no longer than it said, so that reading need not pause
            cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        if type(cycle) is not _Cycle:
            super().on_message_complete()
        elif cycle.begin(bytes(cycle.body)):
            cycle.body.clear()  # a connection may be idle for long
        else:
            self.cycle = None  # type: ignore[assignment]
            super().on_headers_complete()
            self.cycle.body = cycle.body
            super().on_message_complete()

    def answer(self, cycle: _Cycle, answer: FastResponse) -> None:
        """Write the answer to a request as a whole."""
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self.tasks.add(task := self.loop.create_task(self._drained(cycle, answer)))
            task.add_done_callback(self.tasks.discard)
            return
        parts = [STATUS_LINE[answer.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        parts += (answer.headers, b"content-length: %d\r\n" % len(answer.content), end, answer.content)
        self.transport.write(b"".join(parts))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    async def _drained(self, cycle: _Cycle, answer: FastResponse) -> None:
        """Wait until the client has read what it was sent before."""
        await self.flow.drain()
        self.answer(cycle, answer)

    def _is_free(self) -> bool:
        """Whether all requests so far have been answered."""
        return self.cycle is None or self.cycle.response_complete

    def _meant(self) -> _Head | None:
        """What the head at hand means, if it is a common one that a door takes."""
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1" or b"%" in self.url:
            return None
        headers = dict(self.headers)
        if not _HEADERS.issuperset(headers) or len(headers) < len(self.headers):
            return None
        if headers.get(b"accept-encoding", b"").lower() in _CODINGS:  # the application packs the answer
            return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self._longest:
            return None
        take = self._quick(self.url, headers)
        return take and _Head(take, int(length), self.parser.should_keep_alive())

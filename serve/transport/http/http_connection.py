# ruff: noqa: TID253
"""uvicorn's HTTP/1.1 connection with a fast path for common requests, and with limits on how a request arrives.

**Fast path.** A POST whose path a ``FastRoute`` takes, with common headers and a body of known length, is handed to the
handler as a whole and answered without ASGI and without a task. Everything else goes through the application: other
methods and headers, bodies that are large or of unknown length, pipelined requests, and what the handler declines.
Clients send the same request head again and again, so heads are remembered: one that was parsed before is not parsed
again. Headers that proxies add differ from request to request: a head is remembered without these
(``proxy_headers.py``).

**Limits.** uvicorn limits neither the size of a request's head nor the time that a request takes to arrive. Here a head
that is too long is answered 431, and a request that does not arrive in time 408; without this, a client that sends a
byte now and then would keep its connection for ever.

Parsing, keep-alive, flow control and shutdown are uvicorn's. ``uvicorn_contract.py`` lists what is used of its class
and the versions that were tested.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import TimerHandle, Transport
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serve.request_context import RequestContext
from serve.security.limits import Limits
from serve.transport.http.fast_path import MAX_FAST_BODY, FastHandler, FastResponse, FastRoute
from serve.transport.http.proxy_headers import other_headers, request_id, without_proxy_headers

#: Headers that do not change a response, or that the handlers read.
_COMMON_HEADERS = frozenset(
    b"host user-agent accept accept-encoding accept-language content-type content-length connection".split()
)
#: Values of Accept-Encoding for which the application compresses the response.
_COMPRESSED = (b"gzip", b"deflate")
#: Bytes of the longest request head that is remembered, and how many heads are; the bytes with what proxies add to it.
_MAX_KNOWN_HEAD, _MAX_KNOWN_HEADS, _MAX_PROXIED_HEAD = 1024, 1024, 8192
_REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}


class RequestHead(NamedTuple):
    """What the request line and the headers of a request on the fast path mean."""

    handler: FastHandler
    #: Bytes of the body.
    content_length: int
    keep_alive: bool


class _NoEvent:
    """Takes the place of the event by which uvicorn wakes a waiting application; on the fast path none waits."""

    def set(self) -> None:
        pass


class FastPathCycle:
    """One request on the fast path, in place of uvicorn's ``RequestResponseCycle``."""

    __slots__ = ("body", "connection", "disconnected", "head", "keep_alive", "request_id", "response_complete", "taken")
    message_event = _NoEvent()

    def __init__(self, connection: HttpConnection, head: RequestHead, request_id: str = "") -> None:
        self.connection = connection
        self.head = head
        #: The id that the request was sent with, or ''.
        self.request_id = request_id
        self.keep_alive = head.keep_alive
        self.body = bytearray()
        #: Whether the handler has taken the request.
        self.taken = False
        #: Whether the client has closed the connection.
        self.disconnected = False
        self.response_complete = False

    @property
    def response_started(self) -> bool:
        """Whether a part of the response has been written."""
        return self.connection.sends_pieces

    def is_disconnected(self) -> bool:
        """Whether the client has closed the connection."""
        return self.disconnected

    def start(self, body: bytes) -> bool:
        """Hand the request to its handler; False where it declines."""
        try:
            context = RequestContext("", self.request_id, gone=self.is_disconnected)
            self.taken = self.head.handler(body, context, self.send)
        except Exception:  # the application will fail in the same way, and log it
            return False
        return self.taken

    def send(self, response: FastResponse) -> None:
        """Send the response, but not before ``start`` has returned: the parser may be in the middle of its input."""
        if self.taken:
            self.connection.send_response(self, response)
        else:
            self.connection.loop.call_soon(self.connection.send_response, self, response)


class HttpConnection(HttpToolsProtocol):
    """One connection. ``limited`` makes the class that uvicorn is given."""

    limits: ClassVar[Limits] = Limits()
    _fast_route: FastRoute
    #: Bytes of the longest body that takes the fast path.
    _max_fast_body: ClassVar[int] = MAX_FAST_BODY
    #: Bytes of the longest head that may be a known one with what proxies add.
    _max_known_head: ClassVar[int] = _MAX_PROXIED_HEAD
    #: Request heads of all connections that were parsed before.
    _known_heads: ClassVar[dict[bytes, RequestHead]] = {}
    #: Headers of a request that may take the fast path, in lower case.
    _fast_headers: ClassVar[frozenset[bytes]] = _COMMON_HEADERS

    @classmethod
    def limited(cls, limits: Limits, fast_route: FastRoute, headers: Iterable[str] = ()) -> type[HttpConnection]:
        """A class with these limits and this fast path, whose requests may have these headers besides common ones."""
        namespace = {
            "limits": limits,
            "_fast_route": staticmethod(fast_route),
            "_max_fast_body": min(MAX_FAST_BODY, limits.body),
            "_max_known_head": min(_MAX_PROXIED_HEAD, limits.head),
            "_known_heads": {},
            "_fast_headers": _COMMON_HEADERS | {header.encode() for header in headers},
        }
        return type("Connection", (cls,), namespace)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        #: Whether a request has begun and has not arrived as a whole.
        self._arriving = False
        #: Whether the bytes received last began a request, and how many they were.
        self._began_in_chunk, self._chunk_size = False, 0
        #: Bytes of the arriving request's head so far, without the chunk that began it; None while its body arrives.
        self._head_size: int | None = 0
        #: Ends a connection on which a request does not arrive in time.
        self._arrival_timer: TimerHandle | None = None
        #: The head that was parsed last, if it may be remembered.
        self._parsed_head: RequestHead | None = None
        #: Whether a handler has declined the request that is parsed now.
        self._declined = False
        #: Requests of the application that are not answered completely, oldest first. uvicorn knows only the latest.
        self._unanswered: list[Any] = []
        #: Whether a long response is being sent.
        self.sends_pieces = False

    # asyncio.Protocol

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_arrival_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_arrived()
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._unanswered.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``. A known head is not parsed again if its whole body, and no more, came with it."""
        self._began_in_chunk = False
        self._chunk_size = len(data)
        if self._arriving or not self._is_free():
            super().data_received(data)
        else:
            end = data.find(b"\r\n\r\n", 0, self._max_known_head) + 4
            known_as, sent_id = data[:end], ""
            head = self._known_heads.get(known_as)
            if head is None and data.startswith(b"POST "):
                known_as, sent_id = without_proxy_headers(known_as)
                head = self._known_heads.get(known_as)
            if head is not None and len(data) == end + head.content_length:
                self._unset_keepalive_if_required()
                self.cycle = cycle = FastPathCycle(self, head, sent_id)  # type: ignore[assignment]
                if not cycle.start(data[end:]):
                    self.cycle = None  # type: ignore[assignment]
                    self._declined = True
                    super().data_received(data)
            else:
                self._parsed_head = None
                super().data_received(data)
                head = self._parsed_head
                whole = head is not None and len(data) == end + head.content_length and not self._arriving
                if head is not None and whole and len(known_as) <= _MAX_KNOWN_HEAD:
                    if len(self._known_heads) >= _MAX_KNOWN_HEADS:
                        self._known_heads.clear()
                    self._known_heads[known_as] = head
        if self._arriving and self._head_size is not None and not self._began_in_chunk:
            self._head_size += len(data)
            if self._head_size > self.limits.head:
                self._reject(431)
        if self._arriving or self._is_free():
            if self._arrival_timer is None and not self.transport.is_closing():
                self._start_arrival_timer()
        elif self._arrival_timer:  # the request has arrived, though the parser may not have been used
            self._request_arrived()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        self._arriving = self._began_in_chunk = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        most = self.limits.head
        if (self._head_size or 0) + self._chunk_size > most and self._parsed_head_size() > most:
            self._reject(431)
            return
        self._head_size = None
        head = None if self._declined or not self._is_free() else self._fast_path_head()
        self._declined = False
        if head:
            self._parsed_head = head
            self.cycle = FastPathCycle(self, head, request_id(self.headers))  # type: ignore[assignment]
        else:
            self._hand_to_application()

    def on_body(self, body: bytes) -> None:
        if self._head_size is not None:  # the head was rejected
            return
        cycle: Any = self.cycle
        if type(cycle) is FastPathCycle:  # not longer than Content-Length said, so that reading need not pause
            cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        rejected = self._head_size is not None
        self._request_arrived()
        if rejected:
            return
        cycle: Any = self.cycle
        if type(cycle) is not FastPathCycle:
            super().on_message_complete()
        elif cycle.start(bytes(cycle.body)):
            cycle.body.clear()  # a connection may be idle for long
        else:
            self.cycle = None  # type: ignore[assignment]
            self._hand_to_application()
            self.cycle.body = cycle.body
            super().on_message_complete()

    def _hand_to_application(self) -> None:
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        if self.cycle is not None:
            self._unanswered.append(self.cycle)

    # The fast path

    def send_response(self, cycle: FastPathCycle, response: FastResponse) -> None:
        """Write the response to a request on the fast path as a whole."""
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self.tasks.add(task := self.loop.create_task(self._send_when_drained(cycle, response)))
            task.add_done_callback(self.tasks.discard)
            return
        parts = [STATUS_LINE[response.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        content = response.content
        if not isinstance(content, bytes):
            parts += (response.headers, b"transfer-encoding: chunked\r\n", end)
            self.transport.write(b"".join(parts))
            self.tasks.add(task := self.loop.create_task(self._send_pieces(cycle, content)))
            task.add_done_callback(self.tasks.discard)
            return
        parts += (response.headers, b"content-length: %d\r\n" % len(content), end, content)
        self.transport.write(b"".join(parts))
        self._response_sent(cycle)

    async def _send_pieces(self, cycle: FastPathCycle, pieces: Iterator[bytes]) -> None:
        """Write the body of a long response piece by piece, as fast as the client reads, with a turn for others."""
        self.sends_pieces = True
        try:
            for piece in pieces:
                if self.transport.is_closing():
                    return
                if piece:
                    self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(0)
                await self.flow.drain()
        except Exception:
            logging.getLogger("bookserve").exception("a response could not be completed")
            self.transport.abort()  # so that the client does not take what it got for the whole
            return
        finally:
            self.sends_pieces = False
        if not self.transport.is_closing():
            self.transport.write(b"0\r\n\r\n")
            self._response_sent(cycle)

    def _response_sent(self, cycle: FastPathCycle) -> None:
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    async def _send_when_drained(self, cycle: FastPathCycle, response: FastResponse) -> None:
        """Send the response once the client has read what it was sent before."""
        await self.flow.drain()
        self.send_response(cycle, response)

    def _is_free(self) -> bool:
        """Whether all requests so far have been answered."""
        return self.cycle is None or self.cycle.response_complete

    def _fast_path_head(self) -> RequestHead | None:
        """The head that was just parsed, if its request takes the fast path."""
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1" or b"%" in self.url:
            return None
        given = self.headers
        headers = dict(given)
        if not self._fast_headers.issuperset(headers):
            headers = dict(given := other_headers(given))
        if not self._fast_headers.issuperset(headers) or len(headers) < len(given):
            return None
        if headers.get(b"accept-encoding", b"").lower() in _COMPRESSED:
            return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self._max_fast_body:
            return None
        handler = self._fast_route(self.url, headers)
        return handler and RequestHead(handler, int(length), self.parser.should_keep_alive())

    # Limits

    def _parsed_head_size(self) -> int:
        """Bytes of the path and the headers that were just parsed."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _request_arrived(self) -> None:
        self._arriving, self._head_size = False, 0
        if self._arrival_timer:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _start_arrival_timer(self) -> None:
        self._arrival_timer = self.loop.call_later(self.limits.seconds, self._arrival_timed_out)

    def _arrival_timed_out(self) -> None:
        if self.flow.read_paused:  # the server does not read; the client is not to blame
            self._start_arrival_timer()
        elif not self.transport.is_closing():
            self._reject(408)

    def _reject(self, status: int) -> None:
        """Close the connection; send this status first if the arriving request has had no response."""
        if self.transport.is_closing():
            return
        in_body = self._head_size is None
        response_started = self.cycle is not None and self.cycle.response_started
        earlier_unanswered = self.cycle is not None and not self.cycle.response_complete
        if self._arriving and not (response_started if in_body else earlier_unanswered):
            reason = _REASONS[status]
            self.transport.write(
                f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(reason) + 1}\r\nconnection: close\r\n\r\n{reason}\n".encode()
            )
        self.transport.close()

# ruff: noqa: TID253
"""Connection: one client's HTTP/2 connection (RFC 9113).

It reads frames, keeps to the limits, and shares out what the client lets us send. Whoever breaks the protocol, or asks
for work and never takes it, is told why and loses the connection; nobody else notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from serve.http2 import frames
from serve.http2.call import Call
from serve.http2.fields import Fields, Malformed
from serve.http2.frames import Code, Violation
from serve.http2.stream import WINDOW, Stream

if TYPE_CHECKING:
    from serve.http2.server import Server

logger = logging.getLogger("bookserve")

#: Bytes of the longest frame that is read.
FRAME = 2**18
#: Bytes read on a connection before its window is filled up again. It is as large as can be: streams hold back.
_REFILL = 2**24
#: Frames that do no work, such as PING, which a client may send at once, beside two for every stream that it may have,
#: and how many more each second. Every answer and every piece of it allows for some more.
PATIENCE, _FORGIVEN, _EARNED = 1000, 10, 4
#: Frames that a header block may be split into.
_PIECES = 64
#: Seconds of silence after which a client is asked whether it lives, and that it has to answer.
IDLE, ANSWER = 300.0, 20.0
#: How far a gentle end has come, and the PING whose answer says that the client knows.
_TOLD, _DEAF, _LEAVING = 1, 2, b"leaving."
_NOT_HERE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nThis port speaks gRPC, not HTTP/1.1.\n"
#: Streams ended here on which the client may not know of it yet.
_REMEMBERED = 256


class Connection(asyncio.Protocol):
    """The protocol of one transport. ``server`` has the methods; streams write through here."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.limits = server.limits
        self.peer = ""
        #: Bytes that the client lets us send on all streams together, and in one frame.
        self.window, self.frame_size = frames.USUAL_WINDOW, frames.USUAL_FRAME
        #: Whether the client does not read what was sent, and streams that wait for room.
        self.paused = False
        self.blocked: dict[int, Stream] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._fields = Fields(self.limits.head)
        #: Calls by stream while it is open, and those whose methods have not ended yet.
        self._calls: dict[int, Call] = {}
        self._running: set[Call] = set()
        self._fresh: list[Call] = []
        self._over: deque[int] = deque(maxlen=_REMEMBERED)
        self._rest = bytearray()
        self._needed = len(frames.PREFACE)
        self._greeted = self._set = False
        self._last = 0
        self._block: tuple[int, int, list[bytes]] | None = None
        self._stream_window = frames.USUAL_WINDOW
        self._unfilled = 0
        self._most_patience = PATIENCE + 2 * self.limits.streams
        self._patience = self._most_patience
        self._since = self._heard = self._loop.time()
        #: When it stopped reading what we send, when a block of headers began, when it was asked whether it lives.
        self._stuck: float | None = None
        self._unfinished: float | None = None
        self._asked: float | None = None
        #: When it was closed, and how far a gentle end has come: the client was told, and new calls are not heard.
        self._closing: float | None = None
        self._leaving, self._told = 0, 0.0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.peer = _named(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            transport.close()
            return
        self.server.connections.add(self)
        ours = {
            frames.STREAMS: self.limits.streams,
            frames.WINDOW: WINDOW,
            frames.FRAME: FRAME,
            frames.HEAD: self.limits.head,
        }
        self.write(frames.settings(ours) + frames.window_update(0, frames.MOST - frames.USUAL_WINDOW))
        if self.server.leaving:
            self.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        self._transport = None
        for call in list(self._running):
            call.leave()
        self._calls.clear()
        self.blocked.clear()

    def pause_writing(self) -> None:
        self.paused, self._stuck = True, self._loop.time()

    def resume_writing(self) -> None:
        self.paused, self._stuck = False, None
        self._pump()

    def eof_received(self) -> bool:
        return False  # whoever says no more wants no more

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        try:
            self._read(data)
        except Violation as violation:
            self._break(violation.code, str(violation))
        except Exception:
            logger.exception("a connection of %s failed", self.peer)
            self._break(Code.INTERNAL_ERROR, "the server made a mistake")
        for call in self._fresh:
            if not call.done():
                self._running.add(call)
                call.start(self._loop)
        self._fresh.clear()

    # What streams, calls and the server ask

    def write(self, data: bytes) -> None:
        """Send, if anybody is there."""
        if self._transport is not None:
            self._transport.write(data)

    def open_for(self, size: int) -> bool:
        """Whether a frame of ``size`` bytes of content can go now."""
        return size <= self.window and size <= self.frame_size and not self.paused

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        if self._calls.pop(stream.number, None) is not None:
            self._over.append(stream.number)
            self.blocked.pop(stream.number, None)
            self._earn()
            self._leave_if_done()

    def answered(self, call: Call) -> None:
        """A call's method has ended."""
        self._running.discard(call)
        self._leave_if_done()

    def leave(self) -> None:
        """Take no new calls, but those that the client sent before it heard of it; close after the last answer."""
        if not self._leaving:
            self._leaving, self._told = _TOLD, self._loop.time()
            self.write(frames.goaway(frames.MOST, Code.NO_ERROR) + frames.frame(frames.PING, 0, 0, _LEAVING))

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End all calls, and the connection."""
        for call in list(self._running):
            call.end(code, details)
        self._break(Code.NO_ERROR, details)

    def look(self, now: float) -> None:
        """Once a second: whether the client is still there, and what it began it also goes on with."""
        self._patience = min(self._patience + _FORGIVEN, self._most_patience)
        patience = self.limits.seconds
        if not self._set and now - self._since > patience:
            self._break(Code.PROTOCOL_ERROR, "no SETTINGS came")
        elif self._unfinished is not None and now - self._unfinished > patience:
            self._break(Code.ENHANCE_YOUR_CALM, "a header block came too slowly")
        elif self._is_dead(now):
            self.abort()
        elif self._leaving == _TOLD and now - self._told > 1:
            self._last_call()  # it does not answer
        elif self._asked is None and now - self._heard > IDLE:
            self._asked = now
            self.write(frames.frame(frames.PING, 0, 0, b"bookserv"))

    def _is_dead(self, now: float) -> bool:
        """Whether the client has not read, or not answered, for too long."""
        stuck = self._stuck is not None and now - self._stuck > self.limits.seconds
        return stuck or now - (self._closing or self._asked or now) > ANSWER

    def abort(self) -> None:
        """Close without another word."""
        if self._transport is not None:
            self._transport.abort()

    # What the client sends

    def _read(self, data: bytes) -> None:
        at, size = 0, len(data)
        if not self._greeted and not (at := self._greet(data)):
            self._rest += data
            return
        while size - at >= 9 and self._closing is None:
            word = int.from_bytes(data[at : at + 4], "big")
            length, kind = word >> 8, word & 255
            if length > FRAME:
                raise Violation(Code.FRAME_SIZE_ERROR, f"a frame has {length} bytes; at most {FRAME} are read")
            end = at + 9 + length
            if end > size:
                self._needed = 9 + length
                break
            number = int.from_bytes(data[at + 5 : at + 9], "big") & frames.MOST
            self._take(kind, data[at + 4], number, data[at + 9 : end])
            at = end
        else:
            self._needed = 9
        if at < size:
            self._rest += data[at:]

    def _greet(self, data: bytes) -> int:
        """Past the words that every client begins with."""
        greeting = frames.PREFACE
        if data[: len(greeting)] != greeting[: len(data)]:
            if data[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD"):
                self.write(_NOT_HERE)
                self._close()
            raise Violation(Code.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(data) < len(greeting):
            self._needed = len(greeting)
            return 0  # the rest of them is still to come
        self._greeted = True
        return len(greeting)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or number != self._block[0]):
            raise Violation(Code.PROTOCOL_ERROR, "another frame within a header block")
        if not self._set and kind != frames.SETTINGS:
            raise Violation(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._headers(flags, number, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == frames.RST_STREAM:
            self._reset(number, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Violation(Code.PROTOCOL_ERROR, "clients push nothing")
        elif kind == frames.PRIORITY:
            self._spend()
            if not number or len(payload) != 5:
                raise Violation(Code.FRAME_SIZE_ERROR if number else Code.PROTOCOL_ERROR, "PRIORITY is malformed")
        elif kind in (frames.SETTINGS, frames.PING, frames.GOAWAY):
            self._spend()
            if number:
                raise Violation(Code.PROTOCOL_ERROR, "a frame of the connection names a stream")
            if kind == frames.SETTINGS:
                self._settings(flags, payload)
            elif kind == frames.PING:
                self._ping(flags, payload)
        else:
            self._spend()  # kinds that nobody knows are passed over

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise Violation(Code.PROTOCOL_ERROR, "clients open streams of odd numbers")
        block = frames.content(flags, payload)
        if flags & frames.END_HEADERS:
            self._open(number, block, bool(flags & frames.END_STREAM))
        else:
            self._block = number, flags & frames.END_STREAM, [block]
            self._unfinished = self._loop.time()
            self._check_block()

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None:
            raise Violation(Code.PROTOCOL_ERROR, "a header block goes on that never began")
        self._block[2].append(payload)
        self._check_block()
        if flags & frames.END_HEADERS:
            _, last, parts = self._block
            self._block = self._unfinished = None
            self._open(number, b"".join(parts), bool(last))

    def _check_block(self) -> None:
        _, _, parts = self._block or (0, 0, [])
        if sum(map(len, parts)) > 2 * self.limits.head or len(parts) > _PIECES:
            raise Violation(Code.ENHANCE_YOUR_CALM, f"headers have more than {self.limits.head} bytes")

    def _open(self, number: int, block: bytes, last: bool) -> None:
        """A whole block: a new call, or the end of what the client says on an old one."""
        if number <= self._last:
            self._fields.skip(block)
            call = self._calls.get(number)
            if call is not None and not call.stream.ended and last:
                call.stream.receive(b"", 0, last)
            elif call is not None and not call.stream.ended:
                self._wrong(number, Code.PROTOCOL_ERROR)
            elif number not in self._over or call is not None:
                raise Violation(Code.STREAM_CLOSED, "headers on a stream that is over")
            return
        self._last = number
        try:
            head = self._fields.head(block)
        except Malformed:
            self._wrong(number, Code.PROTOCOL_ERROR)
            return
        if self._leaving == _DEAF:
            return  # the client was told which streams are still heard
        if len(self._calls) >= self.limits.streams or len(self._running) >= 2 * self.limits.streams:
            self._wrong(number, Code.REFUSED_STREAM)
            return
        call = Call(self, Stream(self, number, head, self._stream_window))
        call.stream.ended = last
        self._calls[number] = call
        if head.refused:
            call.refuse(head.refused)
        elif head.size > self.limits.head:
            call.end(grpc.StatusCode.RESOURCE_EXHAUSTED, f"metadata is larger than {self.limits.head} bytes.")
        else:
            self._fresh.append(call)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        length = len(payload)
        self._unfilled += length
        if self._unfilled >= _REFILL:
            self.write(frames.window_update(0, self._unfilled))
            self._unfilled = 0
        call = self._calls.get(number)
        if call is None or call.stream.ended:
            if not number or number > self._last:
                raise Violation(Code.PROTOCOL_ERROR, "data on a stream that is not open")
            if call is not None or number not in self._over:
                self._wrong(number, Code.STREAM_CLOSED)
            return
        last = bool(flags & frames.END_STREAM)
        if not length and not last:
            self._spend()
        if not call.stream.receive(frames.content(flags & frames.PADDED, payload), length, last):
            self._wrong(number, Code.FLOW_CONTROL_ERROR)

    def _reset(self, number: int, payload: bytes) -> None:
        self._spend()
        if len(payload) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR, "RST_STREAM is malformed")
        if not number or number > self._last:
            raise Violation(Code.PROTOCOL_ERROR, "a stream is reset that is not open")
        call = self._calls.get(number)
        if call is not None:
            self._spend(_EARNED)  # what its end earns is not earned by a cancelled call
            call.leave()

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise Violation(Code.FRAME_SIZE_ERROR, "SETTINGS is malformed")
            return
        values = frames.read_settings(payload)
        self._set = True
        self.frame_size = values.get(frames.FRAME, self.frame_size)
        if frames.WINDOW in values:
            more = values[frames.WINDOW] - self._stream_window
            self._stream_window += more
            for call in self._calls.values():
                call.stream.window += more
                if call.stream.window > frames.MOST:
                    raise Violation(Code.FLOW_CONTROL_ERROR, "a window has grown too large")
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()

    def _ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Violation(Code.FRAME_SIZE_ERROR, "PING is malformed")
        if not flags & frames.ACK:
            self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
            return
        self._asked = None
        if payload == _LEAVING and self._leaving == _TOLD:
            self._last_call()

    def _window_update(self, number: int, payload: bytes) -> None:
        self._spend()
        if len(payload) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE is malformed")
        more = int.from_bytes(payload, "big") & frames.MOST
        if not number:
            self.window += more
            if not more or self.window > frames.MOST:
                raise Violation(Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR, "a window grows by nothing")
            self._pump()
            return
        if number > self._last:
            raise Violation(Code.PROTOCOL_ERROR, "a window of a stream that is not open")
        call = self._calls.get(number)
        if call is None:
            return
        call.stream.window += more
        if not more or call.stream.window > frames.MOST:
            self._wrong(number, Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR)
        else:
            call.stream.pump()

    # The rest

    def _pump(self) -> None:
        """Let streams that waited for room go on, the one that waited longest first."""
        for number, stream in list(self.blocked.items()):
            if self.window <= 0 or self.paused:
                return
            self.blocked.pop(number, None)
            stream.pump()

    def _wrong(self, number: int, code: Code) -> None:
        """End one stream on which the client did what it may not."""
        self._spend()
        self.write(frames.reset(number, code))
        call = self._calls.get(number)
        if call is not None:
            self._spend(_EARNED)
            call.leave()
        else:
            self._over.append(number)

    def _spend(self, patience: int = 1) -> None:
        self._patience -= patience
        if self._patience < 0:
            raise Violation(Code.ENHANCE_YOUR_CALM, "too many frames that do no work")

    def _earn(self) -> None:
        self._patience = min(self._patience + _EARNED, self._most_patience)

    def _break(self, code: Code, reason: str) -> None:
        """Tell the client why, and close once that is sent."""
        if not self._closing:
            self.write(frames.goaway(self._last, code, reason))
            self._close()

    def _close(self) -> None:
        """Close once all is sent; ``look`` ends it where the client does not read."""
        self._closing = self._loop.time()
        if self._transport is not None:
            self._transport.close()

    def _last_call(self) -> None:
        """Hear of no new streams; what comes after this word, the client knows to send elsewhere."""
        self._leaving = _DEAF
        self.write(frames.goaway(self._last, Code.NO_ERROR))
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._leaving == _DEAF and not self._calls and not self._running:
            self._close()


def _named(transport: asyncio.BaseTransport) -> str:
    """The other side, as grpcio names it."""
    address: Any = transport.get_extra_info("peername")
    if not isinstance(address, tuple):
        return "unix:"
    return f"ipv6:[{address[0]}]:{address[1]}" if ":" in address[0] else f"ipv4:{address[0]}:{address[1]}"

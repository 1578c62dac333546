# ruff: noqa: TID253
"""Connection: one client's HTTP/2 connection (RFC 9113).

It reads frames, keeps to the limits, and shares out what the client lets us send. Whoever breaks the protocol, or asks
for work and never takes it, is told why and loses the connection; nobody else notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

import grpc

from serve.transport.http2 import frames
from serve.transport.http2.call import Call
from serve.transport.http2.frame_reader import FRAME, Elsewhere, Reader
from serve.transport.http2.frames import Code, Violation
from serve.transport.http2.header_blocks import Fields, Malformed
from serve.transport.http2.stream import WINDOW, Stream
from serve.transport.http2.transport import EARNED, LEAVING, Link

if TYPE_CHECKING:
    from serve.transport.http2.server import Server

logger = logging.getLogger("bookserve")

#: Bytes read on a connection before its window is filled up again. It is as large as can be: streams hold back.
_REFILL = 2**24
_NOT_HERE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nThis port speaks gRPC, not HTTP/1.1.\n"
#: Streams ended here on which the client may not know of it yet.
_REMEMBERED = 256


class Connection(Link):
    """The protocol of one transport. ``server`` has the methods; streams write through here."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.limits)
        self.server = server
        #: Bytes that the client lets us send on all streams together, and in one frame.
        self.window, self.frame_size = frames.USUAL_WINDOW, frames.USUAL_FRAME
        #: Streams that wait for room.
        self.blocked: dict[int, Stream] = {}
        self._fields = Fields(self.limits.head)
        #: Calls by stream while it is open, and those whose methods have not ended yet.
        self._calls: dict[int, Call] = {}
        self._running: set[Call] = set()
        self._fresh: list[Call] = []
        self._over: deque[int] = deque(maxlen=_REMEMBERED)
        self._reader = Reader(self.limits.head)
        #: Whether the client has sent its settings.
        self._set = False
        self._stream_window = frames.USUAL_WINDOW
        self._unfilled = 0
        self._since = self._loop.time()
        #: When a block of headers began.
        self._unfinished: float | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._closing is not None:
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
        super().connection_lost(exc)
        self.server.connections.discard(self)
        self._give_up()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pump()

    def data_received(self, data: bytes) -> None:
        if self._closing is not None:
            return
        self._hear()
        try:
            for kind, flags, number, payload in self._reader.frames(data):
                self._take(kind, flags, number, payload)
        except Elsewhere:
            self.write(_NOT_HERE)
            self._close()
        except Violation as violation:
            self._break(violation.code, str(violation))
        except Exception:
            logger.exception("a connection of %s failed", self.peer)
            self._break(Code.INTERNAL_ERROR, "the server made a mistake")
        if self._closing is not None:
            self._give_up()
        self._unfinished = (self._unfinished or self._loop.time()) if self._reader.in_block else None
        for call in self._fresh:
            if not call.done():
                self._running.add(call)
                call.start(self._loop)
        self._fresh.clear()

    # What streams, calls and the server ask

    def open_for(self, size: int) -> bool:
        """Whether a frame of ``size`` bytes of content can go now."""
        return size <= self.window and size <= self.frame_size and not self.paused

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        if self._calls.pop(stream.number, None) is not None:
            self._over.append(stream.number)
            self.blocked.pop(stream.number, None)
            self.earn()
            self._leave_if_done()

    def answered(self, call: Call) -> None:
        """A call's method has ended."""
        self._running.discard(call)
        self._leave_if_done()

    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._calls or self._running)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End all calls, and the connection."""
        for call in list(self._running):
            call.end(code, details)
        self._break(Code.NO_ERROR, details)

    def look(self, now: float) -> None:
        super().look(now)
        if not self._set and now - self._since > self.limits.seconds:
            self._break(Code.PROTOCOL_ERROR, "no SETTINGS came")
        elif self._unfinished is not None and now - self._unfinished > self.limits.seconds:
            self._break(Code.ENHANCE_YOUR_CALM, "a header block came too slowly")

    # What the client sends

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if not self._set and kind != frames.SETTINGS:
            raise Violation(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._open(number, payload, bool(flags & frames.END_STREAM))
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == frames.RST_STREAM:
            self._reset(number, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Violation(Code.PROTOCOL_ERROR, "clients push nothing")
        else:
            self._spend()
            if kind == frames.SETTINGS:
                self._settings(flags, payload)
            elif kind == frames.PING and not flags & frames.ACK:
                self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
            elif kind == frames.PING and payload == LEAVING:
                self._last_call()  # other kinds mean nothing to us

    def _open(self, number: int, block: bytes, last: bool) -> None:
        """A header block: a new call, or the end of what the client says on an old one."""
        if not number & 1:
            raise Violation(Code.PROTOCOL_ERROR, "clients open streams of odd numbers")
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
        if self._final is not None:  # the client was told which streams are still heard
            self._over.append(number)
            return
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
        if not number or number > self._last:
            raise Violation(Code.PROTOCOL_ERROR, "a stream is reset that is not open")
        call = self._calls.get(number)
        if call is not None:
            self._spend(EARNED)  # what its end earns is not earned by a cancelled call
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

    def _window_update(self, number: int, payload: bytes) -> None:
        self._spend()
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

    def _give_up(self) -> None:
        """Nobody takes the answers of this connection any more."""
        self._fresh.clear()
        self.blocked.clear()
        for call in [*self._running, *self._calls.values()]:
            call.leave()

    def _wrong(self, number: int, code: Code) -> None:
        """End one stream on which the client did what it may not."""
        self._spend()
        self.write(frames.reset(number, code))
        call = self._calls.get(number)
        if call is not None:
            self._spend(EARNED)
            call.leave()
        else:
            self._over.append(number)

# ruff: noqa: TID253
"""The HTTP/2 connection of one client (RFC 9113): frames in and out, flow control, limits and shutdown.

A client that violates the protocol, or that asks for work and never reads the result, is told why by GOAWAY and loses
its connection. Other connections are not affected.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import grpc

from serve.transport.http2 import frames
from serve.transport.http2.call import Call, CallOwner
from serve.transport.http2.config import Config
from serve.transport.http2.frame_budget import BYTES_PER_UNIT, DEAD_STREAM_COST, RESET_COST, FrameBudget, head_cost
from serve.transport.http2.frame_reader import MAX_FRAME_SIZE, FrameReader, Http1Request
from serve.transport.http2.frames import ErrorCode, Http2ConnectionError
from serve.transport.http2.gathered_writer import GatheredWriter
from serve.transport.http2.header_blocks import HeaderDecoder, MalformedRequest
from serve.transport.http2.held_bytes import HeldBytes
from serve.transport.http2.stream import RECEIVE_WINDOW, Stream

#: Frames that are handled, and seconds that this may take, before other connections have their turn.
TURN_FRAMES, TURN_SECONDS = 256, 0.003
#: Seconds without a byte after which a client is sent a PING, and that it has to answer it.
IDLE_TIMEOUT, PING_TIMEOUT = 300.0, 20.0
#: Seconds that a client has to acknowledge the PING after a first GOAWAY.
SHUTDOWN_PING_TIMEOUT = 1.0
#: Seconds that a connection stays open after GOAWAY for the client to close it.
LINGER = 2.0
#: Payloads of the PING that checks whether an idle client is alive, and of the one that follows a first GOAWAY: its
#: acknowledgement says that the client has read that GOAWAY.
_KEEPALIVE_PING, _SHUTDOWN_PING = b"bookserv", b"leaving."
#: Bytes received on a connection before its window is filled up again. That window is as large as it can be, since the
#: windows of the streams hold clients back.
_WINDOW_INCREMENT = 2**24
_HTTP_1_RESPONSE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nThis port speaks gRPC, not HTTP/1.1.\n"
#: Streams closed by the server that are remembered, since the client may still send frames on them.
_REMEMBERED_STREAMS = 256

#: Makes the call of a new stream.
CallFactory = Callable[[CallOwner, Stream], Call]


class Connection(asyncio.Protocol):
    """The asyncio protocol of one client. Streams write through it: see ``FrameWriter``."""

    def __init__(
        self,
        config: Config,
        new_call: CallFactory,
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
        held: HeldBytes,
    ) -> None:
        """``opened`` and ``closed`` are called with the connection when it is made and lost.

        ``held`` counts what all connections hold.
        """
        self.config = config
        #: The client's address in grpcio's notation.
        self.peer = ""
        #: Whether the client does not read what was sent.
        self.paused = False
        #: Bytes that the client lets us send on all streams together.
        self.send_window = frames.DEFAULT_WINDOW
        #: Bytes of the largest payload that is sent.
        self.max_frame_size = frames.DEFAULT_FRAME_SIZE
        self._new_call = new_call
        self._opened, self._closed = opened, closed
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._writer: GatheredWriter  # as long as there is a transport
        self._reader = FrameReader(config.max_header_list_size)
        self._header_decoder = HeaderDecoder(config.max_header_list_size)
        #: Calls by the identifier of their stream while it is open, and those whose methods are running.
        self._calls: dict[int, Call] = {}
        self._running: set[Call] = set()
        #: Calls that start once all bytes received have been read.
        self._new_calls: list[Call] = []
        #: Streams with something to send that wait for window.
        self._blocked: dict[int, Stream] = {}
        #: Identifiers of streams that the server closed last.
        self._closed_streams: deque[int] = deque(maxlen=_REMEMBERED_STREAMS)
        self._last_stream_id = 0
        #: The client's SETTINGS_INITIAL_WINDOW_SIZE.
        self._initial_send_window = frames.DEFAULT_WINDOW
        self._settings_received = False
        #: Bytes received since the connection's window was filled up.
        self._unreturned = 0
        #: Frames that were received and not handled yet, and the bytes that came after them.
        self._frames: Iterator[tuple[int, int, int, bytes]] | None = None
        self._backlog = bytearray()
        self._reading_paused = self._turn_scheduled = self._flush_scheduled = False
        #: The client's SETTINGS_HEADER_TABLE_SIZE, and whether the next header block must say that it became smaller.
        self._table_size, self.table_update = frames.DEFAULT_TABLE_SIZE, False
        self.held = HeldBytes(config.max_held_per_connection, held)
        self.now = self._loop.time
        # Times of the event loop's clock; None while it does not apply.
        self._made_at = self.received_at = self.now()
        self.budget = FrameBudget(config.max_concurrent_streams, self._made_at)
        age = config.max_connection_age * random.uniform(0.9, 1.1)  # noqa: S311 - spreads the clients' reconnections
        self._retire_at = self._made_at + age if age else None
        self._paused_at: float | None = None
        self._pinged_at: float | None = None
        self._block_begun_at: float | None = None
        self._shutdown_at: float | None = None
        self._closing_at: float | None = None
        #: The last stream that is processed, once the client was told which one it is.
        self._final_stream_id: int | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings; over TLS, the client must have chosen HTTP/2 by ALPN."""
        self._transport = transport  # type: ignore[assignment]
        self._writer = GatheredWriter(transport, self._loop)  # type: ignore[arg-type]
        self.peer = _peer_name(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._close()
            return
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self.config.max_concurrent_streams,
            frames.INITIAL_WINDOW_SIZE: RECEIVE_WINDOW,
            frames.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
            frames.MAX_HEADER_LIST_SIZE: self.config.max_header_list_size,
        }
        self.write(frames.settings(settings) + frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW))
        self._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all calls."""
        self._transport = None
        self._closed(self)
        self._cancel_calls()

    def pause_writing(self) -> None:
        """The client does not read; then nothing is read from it, either."""
        self.paused, self._paused_at = True, self.now()
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.paused, self._paused_at = False, None
        self._flush_blocked()
        if not self.paused:
            self._next_turn()

    def eof_received(self) -> bool:
        """Treat a half-closed connection as closed."""
        return False

    def data_received(self, data: bytes) -> None:
        """Read frames, as many as fit into a turn."""
        if self._closing_at is not None:
            return
        now = self.now()
        self.received_at, self._pinged_at = now, None
        if self._frames is not None:
            self._backlog += data
            self._pause_reading()
            return
        self._frames = self._reader.read_frames(data)
        self._take_turn(now)

    def _take_turn(self, now: float) -> None:
        """Handle frames; then start the calls that came with them. Others have their turn before the next one."""
        self.budget.refill(now)
        # The clock is read after each frame; this one costs less than the event loop's.
        end, most = monotonic() + TURN_SECONDS, TURN_FRAMES
        whole = True
        try:
            for frame_type, flags, stream_id, payload in self._frames or ():
                self._handle_frame(frame_type, flags, stream_id, payload)
                most -= 1
                if not most or self.paused or monotonic() >= end:
                    whole = False
                    break
        except Http1Request:
            self.write(_HTTP_1_RESPONSE)
            self._close()
        except Http2ConnectionError as error:
            self._connection_error(error.code, str(error))
        except Exception:
            self.config.logger.exception("a connection of %s failed", self.peer)
            self._connection_error(ErrorCode.INTERNAL_ERROR, "the server made a mistake")
        if self._closing_at is not None:
            self._cancel_calls()
        self._block_begun_at = (self._block_begun_at or self.now()) if self._reader.in_block else None
        for call in self._new_calls:
            if not call.done():
                self._running.add(call)
                call.start(self._loop)
        self._new_calls.clear()
        if self._closing_at is not None:
            self._frames = None
            self._backlog.clear()
            self._resume_reading()  # until the client closes
        elif not whole or self._backlog:
            self._schedule_turn()
            if whole:
                self._frames = self._reader.read_frames(bytes(self._backlog))
                self._backlog.clear()
        else:
            self._frames = None
            if self._reading_paused and not self.paused:
                self._resume_reading()

    def _schedule_turn(self) -> None:
        if not self.paused and not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._next_turn, True)

    def _next_turn(self, scheduled: bool = False) -> None:
        """Go on where the last turn ended, or read again if all is handled."""
        if scheduled:
            self._turn_scheduled = False
        if self._transport is None or self._closing_at is not None or self.paused or self._turn_scheduled:
            return
        if not scheduled and self._frames is not None:
            self._schedule_turn()
        elif self._frames is not None:
            self._take_turn(self.now())
        else:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    # FrameWriter and CallOwner

    def write(self, data: bytes) -> None:
        """Send frames, unless the connection is closing; while several calls run, those of one turn together."""
        if self._transport is None or self._closing_at is not None:
            return
        if len(self._running) > 1:
            self._writer.write_soon(data)
        else:
            self._writer.write(data)

    def can_send(self, size: int) -> bool:
        """Whether a DATA frame with ``size`` bytes of payload can be sent now."""
        return size <= self.send_window and size <= self.max_frame_size and not self.paused

    def wait_for_window(self, stream: Stream) -> None:
        """Call ``stream.flush`` when the connection may send again."""
        self._blocked[stream.stream_id] = stream

    def take_table_update(self) -> bytes:
        """The HPACK size update that must open the next header block, once: no dynamic table (RFC 7541, 4.2)."""
        self.table_update = False
        return b"\x20"

    def stream_closed(self, stream: Stream) -> None:
        """Forget a stream on which nothing more is sent or received."""
        call = self._calls.pop(stream.stream_id, None)
        if call is not None:
            call.stop_clock()
            self._closed_streams.append(stream.stream_id)
            self._blocked.pop(stream.stream_id, None)
            if stream.succeeded:
                self.budget.call_succeeded(stream.headers.cost)
            elif stream.failed:
                self.budget.call_failed(stream.headers.cost)
            if self._final_stream_id is not None:
                self._close_if_done()

    def call_finished(self, call: Call) -> None:
        """Forget a call whose method has ended."""
        self._running.discard(call)
        if self._final_stream_id is not None:
            self._close_if_done()

    # Timeouts and shutdown, called by the server

    def check_timeouts(self, now: float) -> None:
        """Once a second: close the connection of a client that is dead or too slow, and PING one that is idle."""
        timeout = self.config.timeout
        if self._retire_at is not None and now > self._retire_at:
            self._retire_at = None
            self.config.count("goaway", "max_connection_age")
            self.shut_down()
        for call in [call for call in self._calls.values() if call.stream.overdue(now, timeout)]:
            if (status := call.stream.overdue(now, timeout)) is not None:
                self.config.count("refusal", "read_timeout")
                call.end(status.code, status.details)
        if self._is_dead(now):
            self.abort()
        elif self._shutdown_at is not None and now - self._shutdown_at > SHUTDOWN_PING_TIMEOUT:
            self._send_final_goaway()  # the PING was not acknowledged
        elif self._pinged_at is None and now - self.received_at > IDLE_TIMEOUT:
            self._pinged_at = now
            self.write(frames.build_frame(frames.PING, 0, 0, _KEEPALIVE_PING))
        if not self._settings_received and now - self._made_at > timeout:
            self._connection_error(ErrorCode.PROTOCOL_ERROR, "no SETTINGS came")
        elif self._block_begun_at is not None and now - self._block_begun_at > timeout:
            self._connection_error(ErrorCode.ENHANCE_YOUR_CALM, "a header block came too slowly")

    def refuse(self, reason: str) -> None:
        """Accept no call, and close."""
        self.config.count("refusal", "max_connections")
        self._connection_error(ErrorCode.NO_ERROR, reason)
        self.close()

    def shut_down(self) -> None:
        """Close gracefully (RFC 9113, section 6.8): after the calls that the client sends before it reads GOAWAY."""
        if self._shutdown_at is None:
            self._shutdown_at = self._loop.time()
            ping = frames.build_frame(frames.PING, 0, 0, _SHUTDOWN_PING)
            self.write(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR) + ping)

    def end_calls(self, code: grpc.StatusCode, details: str) -> None:
        """End all calls with this status, and the connection with GOAWAY."""
        for call in list(self._running):
            call.end(code, details)
        self._connection_error(ErrorCode.NO_ERROR, details)

    def close(self) -> None:
        """Close once all is sent, whatever the client still sends."""
        if self._transport is not None:
            self._writer.flush()
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # Frames

    def _handle_frame(self, frame_type: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._settings_received and frame_type != frames.SETTINGS:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if frame_type == frames.DATA:
            self._handle_data(flags, stream_id, payload)
        elif frame_type == frames.HEADERS:
            self._handle_headers(stream_id, payload, bool(flags & frames.END_STREAM))
        elif frame_type == frames.WINDOW_UPDATE:
            self._handle_window_update(stream_id, payload)
        elif frame_type == frames.RST_STREAM:
            self._handle_rst_stream(stream_id)
        elif frame_type == frames.CONTINUATION:
            self.budget.spend()
        elif frame_type == frames.PUSH_PROMISE:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a client must not send PUSH_PROMISE")
        else:
            self.budget.spend()
            if frame_type == frames.SETTINGS:
                self._handle_settings(flags, payload)
            elif frame_type == frames.PING and not flags & frames.ACK:
                self.write(frames.build_frame(frames.PING, frames.ACK, 0, payload))
            elif frame_type == frames.PING and payload == _SHUTDOWN_PING:
                self._send_final_goaway()
            # GOAWAY, PRIORITY and unknown types are ignored

    def _handle_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        """Open a stream, or end the request of an open one by trailers."""
        if not stream_id & 1:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a client must open streams with odd identifiers")
        if stream_id <= self._last_stream_id:
            fields, size, allowed = self._header_decoder.decode_trailers(block)
            self.budget.spend(DEAD_STREAM_COST + head_cost(fields) + size // BYTES_PER_UNIT)
            call = self._calls.get(stream_id)
            if call is not None and not call.stream.remote_closed:
                if end_stream and allowed and not call.stream.content_left:
                    call.stream.receive_data(b"", 0, end_stream)
                else:
                    self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, "malformed_request")
            elif stream_id not in self._closed_streams or call is not None:
                raise Http2ConnectionError(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            return
        self._last_stream_id = stream_id
        try:
            headers = self._header_decoder.decode_request(block)
            if end_stream and headers.content_length:
                raise MalformedRequest("the request has less content than it says")
        except MalformedRequest:
            self.budget.spend(head_cost(len(block)))
            self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, "malformed_request")
            return
        self.budget.spend(headers.cost)
        if self._final_stream_id is not None:  # GOAWAY has told the client that this stream is not processed
            self._closed_streams.append(stream_id)
            return
        limit = self.config.max_concurrent_streams
        if len(self._calls) >= limit or len(self._running) >= 2 * limit:
            self.config.count("refusal", "max_streams")
            self._stream_error(stream_id, ErrorCode.REFUSED_STREAM, "max_streams")
            return
        call = self._new_call(self, Stream(self, stream_id, headers, self._initial_send_window))
        call.stream.remote_closed = end_stream
        self._calls[stream_id] = call
        if headers.reject_status:
            self.budget.spend(RESET_COST)
            self.config.count("refusal", f"http_{headers.reject_status}")
            call.reject(headers.reject_status)
        elif headers.mistake:
            self.budget.spend(RESET_COST)
            self.config.count("refusal", "malformed_timeout")
            call.end(grpc.StatusCode.INTERNAL, headers.mistake)
        elif headers.list_size > self.config.max_header_list_size:
            self.budget.spend(RESET_COST + headers.list_size // BYTES_PER_UNIT)
            self.config.count("refusal", "metadata_size")
            details = f"metadata is larger than {self.config.max_header_list_size} bytes."
            call.end(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
        else:
            self._new_calls.append(call)

    def _handle_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        length = len(payload)
        self._unreturned += length
        if self._unreturned >= _WINDOW_INCREMENT:
            self.write(frames.window_update(0, self._unreturned))
            self._unreturned = 0
        call = self._calls.get(stream_id)
        if call is None or call.stream.remote_closed:
            if not stream_id or stream_id > self._last_stream_id:
                raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that is not open")
            self.budget.spend(DEAD_STREAM_COST)
            if call is not None or stream_id not in self._closed_streams:
                self._stream_error(stream_id, ErrorCode.STREAM_CLOSED)
            return
        end_stream = bool(flags & frames.END_STREAM)
        content = frames.strip_padding(flags & frames.PADDED, payload)
        if not content and not end_stream:
            self.budget.spend()
        left = call.stream.content_left
        if left is not None:
            call.stream.content_left = left = left - len(content)
            if left < 0 or (end_stream and left):
                self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, "malformed_request")
                return
        if not call.stream.receive_data(content, length, end_stream):
            self._stream_error(stream_id, ErrorCode.FLOW_CONTROL_ERROR)

    def _handle_rst_stream(self, stream_id: int) -> None:
        self.budget.spend()
        if not stream_id or stream_id > self._last_stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
        call = self._calls.get(stream_id)
        if call is not None:
            self.config.count("cancelled", "client")
            self.budget.spend(RESET_COST)
            call.cancel()
        else:
            self.budget.spend(DEAD_STREAM_COST)

    def _handle_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS has a payload")
            return
        values = frames.parse_settings(payload)
        self._settings_received = True
        self.budget.spend(len(values))
        change = 0
        for name, value in values:
            if name == frames.HEADER_TABLE_SIZE:
                self.table_update = self.table_update or value < self._table_size
                self._table_size = value
            elif name == frames.MAX_FRAME_SIZE:
                self.max_frame_size = min(value, MAX_FRAME_SIZE)  # a longer one would hold up the event loop
            elif name == frames.INITIAL_WINDOW_SIZE:
                change = value - self._initial_send_window
        if change:
            self._initial_send_window += change
            for call in self._calls.values():
                call.stream.send_window += change
                if call.stream.send_window > frames.MAX_WINDOW:
                    raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
        self.write(frames.build_frame(frames.SETTINGS, frames.ACK, 0))
        self._flush_blocked()

    def _handle_window_update(self, stream_id: int, payload: bytes) -> None:
        self.budget.spend_update()
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
        if not stream_id:
            self.send_window += increment
            if not increment or self.send_window > frames.MAX_WINDOW:
                raise Http2ConnectionError(
                    frames.increment_error(increment), "WINDOW_UPDATE with an increment of 0, or too large a window"
                )
            self._flush_blocked()
            return
        if stream_id > self._last_stream_id:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")
        call = self._calls.get(stream_id)
        if call is None:
            self.budget.spend(DEAD_STREAM_COST)
            return
        call.stream.send_window += increment
        if not increment or call.stream.send_window > frames.MAX_WINDOW:
            self._stream_error(stream_id, frames.increment_error(increment))
        else:
            call.stream.flush()

    def _flush_blocked(self) -> None:
        """Let streams that wait for window send, the one that has waited longest first, for a turn."""
        self._flush_scheduled, end = False, monotonic() + TURN_SECONDS
        for stream_id, stream in list(self._blocked.items()):
            if self.send_window <= 0 or self.paused:
                return
            self._blocked.pop(stream_id, None)
            stream.flush()
            if monotonic() >= end:  # after the first one, so that a slow machine makes progress, too
                self.flush_soon()
                return

    def flush_soon(self) -> None:
        """See ``FrameWriter``."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_blocked)

    # Errors and the end

    def _stream_error(self, stream_id: int, code: ErrorCode, reason: str = "") -> None:
        """End one stream by RST_STREAM (RFC 9113, section 5.4.2)."""
        self.budget.spend(1 + RESET_COST)
        self.config.count("reset", reason or code.name.lower())
        self.write(frames.rst_stream(stream_id, code))
        call = self._calls.get(stream_id)
        if call is not None:
            call.cancel()
        else:
            self._closed_streams.append(stream_id)

    def _connection_error(self, code: ErrorCode, reason: str) -> None:
        """Send GOAWAY with the reason (RFC 9113, section 5.4.1), and close once it is sent."""
        if self._closing_at is None:
            last = self._last_stream_id if self._final_stream_id is None else self._final_stream_id
            self.config.count("goaway", code.name.lower())
            self.write(frames.goaway(last, code, reason))
            self._close()

    def _cancel_calls(self) -> None:
        """The client reads no response any more."""
        self._new_calls.clear()
        self._blocked.clear()
        for call in [*self._running, *self._calls.values()]:
            call.cancel()

    def _is_dead(self, now: float) -> bool:
        """Whether the client has not read, not answered a PING or not closed for too long."""
        stuck = self._paused_at is not None and now - self._paused_at > self.config.timeout
        silent = self._pinged_at is not None and now - self._pinged_at > PING_TIMEOUT
        lingers = self._closing_at is not None and now - self._closing_at > LINGER
        return stuck or silent or lingers

    def _send_final_goaway(self) -> None:
        """Process no new streams; the client sends those after this GOAWAY to another server."""
        if self._shutdown_at is not None and self._final_stream_id is None:
            self._final_stream_id = self._last_stream_id
            self.write(frames.goaway(self._final_stream_id, ErrorCode.NO_ERROR))
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._final_stream_id is not None and not self._calls and not self._running:
            self._close()

    def _close(self) -> None:
        """Send nothing more, and wait until the client closes, for ``LINGER`` seconds at most.

        If the server closed while the client still sends, its kernel would drop what was sent last.
        """
        if self._closing_at is not None:
            return
        self._closing_at = self._loop.time()
        if self._transport is None:
            return
        self._writer.flush()
        if self._transport.can_write_eof():
            with suppress(OSError):  # the client has reset the connection, which asyncio has not reported yet
                self._transport.write_eof()
        else:
            self._transport.close()


def _peer_name(transport: asyncio.BaseTransport) -> str:
    """The client's address in grpcio's notation."""
    address: Any = transport.get_extra_info("peername")
    if not isinstance(address, tuple):
        return "unix:"
    return f"ipv6:[{address[0]}]:{address[1]}" if ":" in address[0] else f"ipv4:{address[0]}:{address[1]}"

# ruff: noqa: TID253
"""The stream of one gRPC call: messages in and out, and the flow-control windows that limit both (RFC 9113, section 5).

What a stream writes goes to a ``FrameWriter``, which the connection is.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from typing import Protocol

import grpc

from serve.transport.http2 import frames
from serve.transport.http2.config import Config
from serve.transport.http2.frame_budget import FrameBudget
from serve.transport.http2.frames import ErrorCode
from serve.transport.http2.header_blocks import RequestHeaders, encode_headers
from serve.transport.http2.held_bytes import HeldBytes

#: Bytes that a client may send on a stream before the method reads them: SETTINGS_INITIAL_WINDOW_SIZE.
RECEIVE_WINDOW = 2**20
#: Bytes of the prefix of each message: whether it is compressed (1), and its length (4).
PREFIX_SIZE = 5
#: Bytes of a header block that is surely sent in one frame; bytes that a client must read to be known to read.
_SHORT_BLOCK, _PROGRESS = 8192, 16_384
#: Bytes of a message that a stream keeps without counting it, while more may come.
_SMALL_MESSAGE = 16_384
#: Bytes that a stream sends before other streams and connections have their turn, though its client reads fast enough.
TURN_BYTES = 2**18
#: Bytes of the longest message that is copied together with its prefix before it is sent.
_LONG_MESSAGE = 2**20
#: The buffer of a stream that keeps nothing; it is replaced, not changed.
_NOTHING = bytearray()
#: The ``wbits`` argument of zlib by coding.
_ZLIB_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class StatusError(Exception):
    """Ends a call with a gRPC status that is not its method's."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class FrameWriter(Protocol):
    """What a stream needs of its connection."""

    config: Config
    #: Bytes that the client lets us send on all streams together.
    send_window: int
    #: Bytes of the largest payload that the client takes.
    max_frame_size: int
    #: Whether the client does not read what was sent.
    paused: bool
    #: When bytes were last received, in seconds of the event loop's clock.
    received_at: float
    #: What the client may still ask for without giving work.
    budget: FrameBudget
    #: What the connection holds of unfinished requests and unread answers.
    held: HeldBytes
    #: Whether the next header block must begin with ``take_table_update``.
    table_update: bool

    def write(self, data: bytes) -> None:
        """Send whole frames."""

    def can_send(self, size: int) -> bool:
        """Whether a DATA frame with ``size`` bytes of payload can be sent now."""

    def wait_for_window(self, stream: Stream) -> None:
        """Call ``stream.flush`` when the connection may send again."""

    def flush_soon(self) -> None:
        """Let waiting streams send in the next turn of the event loop."""

    def now(self) -> float:
        """The event loop's time in seconds."""

    def take_table_update(self) -> bytes:
        """The HPACK size update that must open the next header block."""

    def stream_closed(self, stream: Stream) -> None:
        """Nothing more is sent or received on the stream."""


class Stream:
    """Requests are read by ``read_message``; responses are written by ``send_…``.

    ``remote_closed`` is RFC 9113's state "half-closed (remote)", ``closed`` its state "closed".
    """

    __slots__ = (
        "_arrived",
        "_begun_at",
        "_buffer",
        "_drained",
        "_empty_message",
        "_held_answers",
        "_held_requests",
        "_needed",
        "_progress",
        "_progress_at",
        "_receive_window",
        "_trailers",
        "_unreturned",
        "_unsent",
        "_whole",
        "_writer",
        "closed",
        "content_left",
        "error",
        "failed",
        "headers",
        "headers_sent",
        "one_message",
        "remote_closed",
        "send_window",
        "stream_id",
        "succeeded",
    )

    def __init__(self, writer: FrameWriter, stream_id: int, headers: RequestHeaders, send_window: int) -> None:
        self._writer = writer
        self.stream_id = stream_id
        self.headers = headers
        #: Bytes that the client lets us send on this stream.
        self.send_window = send_window
        #: Bytes of the request that are still to come, where the client has said how many there are.
        self.content_left = headers.content_length
        #: Whether the client has sent END_STREAM.
        self.remote_closed = False
        #: Whether nothing more is sent or received.
        self.closed = False
        #: Whether the headers of the response were sent.
        self.headers_sent = False
        #: What was wrong with the request.
        self.error: StatusError | None = None
        #: Whether the method takes one message, so that the whole request must arrive within the timeout.
        self.one_message = True
        #: Whether the method has answered the call with success.
        self.succeeded = False
        #: Whether the method has answered it with an error status.
        self.failed = False
        #: A message that came alone, with its flag; it is before those of the buffer.
        self._whole: tuple[int, bytes] | None = None
        #: Messages that were not read yet; the last one may be incomplete.
        self._buffer = _NOTHING  # until there is something to keep
        #: Bytes of the first message in the buffer, once they are known, or of a prefix; whether it has no content.
        self._needed, self._empty_message = PREFIX_SIZE, False
        #: When the request began, or the message that is read next.
        self._begun_at = writer.received_at
        #: Bytes in the buffer, and in ``_unsent``, that are counted in ``FrameWriter.held``.
        self._held_requests = self._held_answers = 0
        #: Bytes sent since ``_progress_at``, when the client last was known to read.
        self._progress, self._progress_at = 0, 0.0
        #: Bytes that the client may still send.
        self._receive_window = RECEIVE_WINDOW
        #: Bytes received for which the client was not sent a WINDOW_UPDATE yet.
        self._unreturned = 0
        self._arrived: asyncio.Future[None] | None = None
        self._unsent: deque[bytes | memoryview] = deque()
        #: The header block that ends the response.
        self._trailers: bytes | None = None
        self._drained: asyncio.Future[None] | None = None

    # Receiving

    def receive_data(self, data: bytes, flow_length: int, end_stream: bool) -> bool:
        """Take the content of a DATA frame; False where it is larger than the window that the client had.

        ``flow_length`` is its length for flow control in bytes, with padding.
        """
        self._receive_window -= flow_length
        if self._receive_window < 0:
            return False
        self._unreturned += flow_length
        self.remote_closed = end_stream
        if self.error is None:
            self._keep(data, end_stream)
        if not end_stream:
            self._return_window()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        return True

    def take_only_message(self) -> bytes | None:
        """The message of a request that has arrived complete, in one DATA frame; None of any other request.

        Nearly all requests of unary methods are such: this spares them two coroutines.
        """
        if self._whole is None or not self.remote_closed or self._buffer or self.error is not None:
            return None
        flag, message = self._whole
        if flag:
            return None
        self._whole = None
        return message

    async def read_message(self) -> bytes | None:
        """The next message of the request, decompressed; None after the last.

        Raises:
            StatusError: it is too large, cut off, damaged, or compressed with an unknown coding.
        """
        while self._whole is None and not (self._buffer and self._has_message()):
            if self.error is not None:
                raise self.error
            if self.remote_closed:
                if self._buffer:
                    raise StatusError(grpc.StatusCode.INTERNAL, "the request ends in the middle of a message.")
                return None
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        if self._whole is not None:
            (flag, message), self._whole = self._whole, None
        else:
            with memoryview(self._buffer) as view:
                flag, message = view[0], bytes(view[PREFIX_SIZE : self._needed])
            del self._buffer[: self._needed]
            self._needed = PREFIX_SIZE
            self._read_prefix()
        if self._held_requests:
            self._hold_requests()
        if not self.remote_closed:
            self._return_window()
        return self._decompress(message) if flag else message

    def overdue(self, now: float, timeout: float) -> StatusError | None:
        """Why the call must end: its request is incomplete, or its answer unread, for ``timeout`` seconds."""
        if not self.remote_closed and now - self._begun_at > timeout and (self.one_message or self._in_message()):
            return StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the request did not arrive completely within {timeout:g} s."
            )
        if self._unsent and now - self._progress_at > timeout:
            return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, f"the answer was not read for {timeout:g} s.")
        return None

    def _has_message(self) -> bool:
        """Whether the buffer begins with a complete message."""
        return len(self._buffer) >= self._needed > PREFIX_SIZE or self._empty_message

    def _in_message(self) -> bool:
        """Whether the client is in the middle of the message that is read next."""
        return self._whole is None and bool(self._buffer) and not self._has_message()

    def _keep(self, data: bytes, end_stream: bool) -> None:
        """Keep content until it is read. Messages are not split before: small ones would take much more memory."""
        size = len(data)
        if (
            self._whole is None
            and not self._buffer
            and size >= PREFIX_SIZE
            and int.from_bytes(data[1:PREFIX_SIZE], "big") == size - PREFIX_SIZE
            and size <= (self._writer.config.max_message_size + PREFIX_SIZE if end_stream else _SMALL_MESSAGE)
        ):
            self._whole = data[0], data[PREFIX_SIZE:]
            return
        if not self._buffer:
            self._begun_at = self._writer.received_at if not self.one_message else self._begun_at
            self._buffer = bytearray()
        self._buffer += data
        if self._needed == PREFIX_SIZE:
            self._read_prefix()
        if self.error is None and not self._hold_requests():
            self._refuse(f"the server holds {self._writer.held.most} bytes of other requests and answers. Try again.")

    def _read_prefix(self) -> None:
        """Learn the length of the message with which the buffer begins, once its prefix is there."""
        self._empty_message = False
        if len(self._buffer) < PREFIX_SIZE:
            return
        length, limit = int.from_bytes(self._buffer[1:PREFIX_SIZE], "big"), self._writer.config.max_message_size
        if length > limit:
            self._refuse(f"Received message larger than max ({length} vs. {limit})")
            return
        self._needed = PREFIX_SIZE + length
        self._empty_message = not length
        if not self.one_message:
            self._begun_at = self._writer.received_at

    def _refuse(self, details: str) -> None:
        """Take nothing more of the request."""
        self.error = StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
        self._buffer = _NOTHING
        self._needed, self._empty_message = PREFIX_SIZE, False
        self._hold_requests()

    def _hold_requests(self) -> bool:
        """Count the bytes of the buffer with those that the server holds; False if they are too many."""
        change = len(self._buffer) - self._held_requests
        if change > 0 and not self._writer.held.add(change):
            return False
        if change < 0:
            self._writer.held.remove(-change)
        self._held_requests += change
        return True

    def _return_window(self) -> None:
        """Let the client send as many bytes more as the method has read, or as an incomplete message needs."""
        unread = 0
        if self._whole is not None:
            unread = len(self._whole[1]) + PREFIX_SIZE + len(self._buffer)
        elif self._has_message():
            unread = len(self._buffer)
        increment = self._unreturned - unread
        if increment >= RECEIVE_WINDOW // 2 and not self.closed:
            self._unreturned -= increment
            self._receive_window += increment
            self._writer.write(frames.window_update(self.stream_id, increment))

    def _decompress(self, message: bytes) -> bytes:
        coding, limit = self.headers.encoding, self._writer.config.max_decompressed_size
        if coding not in _ZLIB_WBITS:
            raise StatusError(
                grpc.StatusCode.UNIMPLEMENTED, f"the message encoding '{coding}' is unknown. Use gzip, deflate or none."
            )
        decompressor = zlib.decompressobj(_ZLIB_WBITS[coding])
        try:
            content = decompressor.decompress(message, limit + 1)
        except zlib.error as error:
            raise StatusError(grpc.StatusCode.INTERNAL, f"the message is not {coding}: {error}.") from error
        if len(content) > limit:
            raise StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the message is larger than {limit:,} bytes after decompression. Send fewer rows at a time.",
            )
        if not decompressor.eof:
            raise StatusError(grpc.StatusCode.INTERNAL, f"the {coding} message ends too early.")
        return content

    # Sending

    def send_headers(self, block: bytes) -> None:
        """Send the headers of the response."""
        self.headers_sent = True
        if not self.closed:
            self._write_block(block, 0)

    def send_response(self, headers: bytes, message: bytes, trailers: bytes) -> None:
        """Send the whole response of a call that has one message; in a single write where the windows allow."""
        size, writer = len(message) + PREFIX_SIZE, self._writer
        if self.closed:
            return
        if self.headers_sent or size > self.send_window or not writer.can_send(size) or len(headers) > _SHORT_BLOCK:
            if not self.headers_sent:
                self.send_headers(headers)
            self.send_message(message)
            self.send_trailers(trailers)
            return
        if writer.table_update:
            headers = writer.take_table_update() + headers
        writer.send_window -= size
        stream_id = self.stream_id.to_bytes(4, "big")
        writer.write(
            b"".join(
                (
                    len(headers).to_bytes(3, "big") + b"\x01\x04",  # HEADERS, END_HEADERS
                    stream_id,
                    headers,
                    size.to_bytes(3, "big") + b"\x00\x00",  # DATA
                    stream_id,
                    b"\0" + (size - PREFIX_SIZE).to_bytes(4, "big"),
                    message,
                    len(trailers).to_bytes(3, "big") + b"\x01\x05",  # HEADERS, END_HEADERS and END_STREAM
                    stream_id,
                    trailers,
                )
            )
        )
        self._finish()

    def send_message(self, message: bytes, coding: str = "") -> None:
        """Send one message as the windows allow, compressed by ``coding``; ``drain`` waits until it is sent."""
        if self.closed:
            return
        flag = b"\0"
        if coding:
            compressor = zlib.compressobj(wbits=_ZLIB_WBITS[coding])
            flag, message = b"\1", compressor.compress(message) + compressor.flush()
        if not self._unsent:
            self._progress_at, self._progress = self._writer.now(), 0
        prefix = flag + len(message).to_bytes(4, "big")
        if len(message) > _LONG_MESSAGE:
            view = memoryview(message)  # copying it at once would hold up the event loop
            self._unsent += (prefix + view[:_PROGRESS], view[_PROGRESS:])
        else:
            self._unsent.append(prefix + message)
        self.flush()

    def send_trailers(self, block: bytes) -> None:
        """Send the header block with the status after all messages, which ends the response."""
        if not self.closed:
            self._trailers = block
            self.flush()

    def give_up(self, block: bytes) -> None:
        """Send the header block with the status now, in place of the messages that are not sent yet."""
        self._unsent.clear()
        self.send_trailers(block)

    async def drain(self) -> None:
        """Wait until all messages are sent, or the stream is closed."""
        while self._unsent and not self.closed:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def flush(self) -> None:
        """Send as much as the windows allow, ``TURN_BYTES`` at most; the rest when the connection has its next turn."""
        writer, turn = self._writer, TURN_BYTES
        while self._unsent and not self.closed:
            most = min(self.send_window, writer.send_window, writer.max_frame_size)
            if most <= 0 or writer.paused or turn <= 0:
                self._wait_for_window()
                if turn <= 0:
                    writer.flush_soon()
                return
            piece = self._unsent.popleft()
            if len(piece) > most:
                piece = memoryview(piece)  # its slices are not copies
                self._unsent.appendleft(piece[most:])
                piece = piece[:most]
            self.send_window -= len(piece)
            writer.send_window -= len(piece)
            writer.write(frames.build_frame(frames.DATA, 0, self.stream_id, piece))
            turn -= len(piece)
            self._progress += len(piece)
            if len(piece) < most or len(piece) >= _PROGRESS:
                writer.budget.data_sent()
            if self._progress >= _PROGRESS:  # fewer bytes are no progress, or a client could read one a minute
                self._progress_at, self._progress = writer.now(), 0
        self._release_answers()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._trailers is not None and not self.closed:
            self._write_block(self._trailers, frames.END_STREAM)
            self._finish()

    def reset(self, code: ErrorCode) -> None:
        """End the stream by RST_STREAM, without a status."""
        if not self.closed:
            self._writer.write(frames.rst_stream(self.stream_id, code))
            self.close()

    def close(self) -> None:
        """Send and receive nothing more."""
        self.closed = True
        self._unsent.clear()
        if self._held_answers:
            self._release_answers()
        if self._held_requests:
            self._buffer = _NOTHING
            self._hold_requests()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._writer.stream_closed(self)

    def _wait_for_window(self) -> None:
        """Wait until the connection may send again, if the server may hold the answer for so long."""
        waiting = sum(map(len, self._unsent))
        self._release_answers()
        if self._writer.held.add(waiting):
            self._held_answers = waiting
            self._writer.wait_for_window(self)
            return
        self._unsent.clear()
        self._trailers = encode_headers(
            [
                ("grpc-status", str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])),
                ("grpc-message", f"the server holds {self._writer.held.most} bytes of other answers. Read them first."),
            ]
        )
        self._writer.config.count("refusal", "held_bytes")
        self.flush()

    def _release_answers(self) -> None:
        if self._held_answers:
            self._writer.held.remove(self._held_answers)
            self._held_answers = 0

    def _write_block(self, block: bytes, flags: int) -> None:
        writer = self._writer
        if writer.table_update:
            block = writer.take_table_update() + block
        writer.write(frames.header_frames(self.stream_id, block, flags, writer.max_frame_size))

    def _finish(self) -> None:
        """After the trailers: a client that is still sending is asked to stop (RFC 9113, section 8.1)."""
        if not self.remote_closed:
            self._writer.write(frames.rst_stream(self.stream_id, ErrorCode.NO_ERROR))
        self.close()

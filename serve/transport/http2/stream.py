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
from serve.transport.http2.frames import ErrorCode
from serve.transport.http2.header_blocks import RequestHeaders

#: Bytes that a client may send on a stream before the method reads them: SETTINGS_INITIAL_WINDOW_SIZE.
RECEIVE_WINDOW = 2**20
#: Bytes of the prefix of each message: whether it is compressed (1), and its length (4).
PREFIX_SIZE = 5
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

    def write(self, data: bytes) -> None:
        """Send whole frames."""

    def can_send(self, size: int) -> bool:
        """Whether a DATA frame with ``size`` bytes of payload can be sent now."""

    def wait_for_window(self, stream: Stream) -> None:
        """Call ``stream.flush`` when the connection may send again."""

    def earn_frames(self) -> None:
        """Let the client send some more frames that carry no data, such as WINDOW_UPDATE."""

    def stream_closed(self, stream: Stream) -> None:
        """Nothing more is sent or received on the stream."""


class Stream:
    """Requests are read by ``read_message``; responses are written by ``send_…``.

    ``remote_closed`` is RFC 9113's state "half-closed (remote)", ``closed`` its state "closed".
    """

    __slots__ = (
        "_arrived",
        "_drained",
        "_messages",
        "_partial",
        "_queued_size",
        "_receive_window",
        "_trailers",
        "_unreturned",
        "_unsent",
        "_writer",
        "closed",
        "error",
        "headers",
        "headers_sent",
        "remote_closed",
        "send_window",
        "stream_id",
    )

    def __init__(self, writer: FrameWriter, stream_id: int, headers: RequestHeaders, send_window: int) -> None:
        self._writer = writer
        self.stream_id = stream_id
        self.headers = headers
        #: Bytes that the client lets us send on this stream.
        self.send_window = send_window
        #: Whether the client has sent END_STREAM.
        self.remote_closed = False
        #: Whether nothing more is sent or received.
        self.closed = False
        #: Whether the headers of the response were sent.
        self.headers_sent = False
        #: What was wrong with the request.
        self.error: StatusError | None = None
        self._messages: deque[tuple[int, bytes]] = deque()
        #: The beginning of a message that is not complete yet.
        self._partial = bytearray()
        #: Bytes that the client may still send.
        self._receive_window = RECEIVE_WINDOW
        #: Bytes received for which the client was not sent a WINDOW_UPDATE yet.
        self._unreturned = 0
        #: Bytes of complete messages that the method has not read yet.
        self._queued_size = 0
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
        if self.error is None:
            self._split_messages(data)
        self.remote_closed = end_stream
        if end_stream and self._partial and self.error is None:
            self.error = StatusError(grpc.StatusCode.INTERNAL, "the request ends in the middle of a message.")
        if not end_stream:
            self._return_window()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        return True

    async def read_message(self) -> bytes | None:
        """The next message of the request, decompressed; None after the last.

        Raises:
            StatusError: it is too large, cut off, damaged, or compressed with an unknown coding.
        """
        while not self._messages:
            if self.error is not None:
                raise self.error
            if self.remote_closed:
                return None
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        flag, message = self._messages.popleft()
        self._queued_size -= len(message) + PREFIX_SIZE
        if not self.remote_closed:
            self._return_window()
        return self._decompress(message) if flag else message

    def _split_messages(self, data: bytes) -> None:
        """Queue the messages that ``data`` completes."""
        size = len(data)
        if (
            not self._partial
            and size >= PREFIX_SIZE
            and int.from_bytes(data[1:PREFIX_SIZE], "big") == size - PREFIX_SIZE
        ):
            if size - PREFIX_SIZE > self._writer.config.max_message_size:
                self._reject_size(size - PREFIX_SIZE)
            else:
                self._messages.append((data[0], data[PREFIX_SIZE:]))
                self._queued_size += size
            return
        partial = self._partial
        partial += data
        start = 0
        while len(partial) - start >= PREFIX_SIZE:
            length = int.from_bytes(partial[start + 1 : start + PREFIX_SIZE], "big")
            if length > self._writer.config.max_message_size:
                self._reject_size(length)
                return
            end = start + PREFIX_SIZE + length
            if len(partial) < end:
                break
            with memoryview(partial) as view:
                self._messages.append((partial[start], bytes(view[start + PREFIX_SIZE : end])))
            self._queued_size += end - start
            start = end
        del partial[:start]

    def _reject_size(self, length: int) -> None:
        limit = self._writer.config.max_message_size
        self.error = StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({length} vs. {limit})"
        )
        self._partial.clear()

    def _return_window(self) -> None:
        """Let the client send as many bytes more as the method has read, or as an incomplete message needs."""
        increment = self._unreturned - self._queued_size
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
            self._writer.write(frames.build_frame(frames.HEADERS, frames.END_HEADERS, self.stream_id, block))

    def send_response(self, headers: bytes, message: bytes, trailers: bytes) -> None:
        """Send the whole response of a call that has one message; in a single write where the windows allow."""
        size, writer = len(message) + PREFIX_SIZE, self._writer
        if self.closed:
            return
        if self.headers_sent or size > self.send_window or not writer.can_send(size):
            if not self.headers_sent:
                self.send_headers(headers)
            self.send_message(message)
            self.send_trailers(trailers)
            return
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

    def send_message(self, message: bytes) -> None:
        """Send one message as the windows allow; ``drain`` waits until it is sent."""
        if not self.closed:
            self._unsent.append(b"\0" + len(message).to_bytes(4, "big") + message)
            self.flush()

    def send_trailers(self, block: bytes) -> None:
        """Send the header block with the status after all messages, which ends the response."""
        if not self.closed:
            self._trailers = block
            self.flush()

    async def drain(self) -> None:
        """Wait until all messages are sent, or the stream is closed."""
        while self._unsent and not self.closed:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def flush(self) -> None:
        """Send as much as the windows allow."""
        writer = self._writer
        while self._unsent and not self.closed:
            most = min(self.send_window, writer.send_window, writer.max_frame_size)
            if most <= 0 or writer.paused:
                writer.wait_for_window(self)
                return
            piece = self._unsent.popleft()
            if len(piece) > most:
                piece = memoryview(piece)  # its slices are not copies
                self._unsent.appendleft(piece[most:])
                piece = piece[:most]
            self.send_window -= len(piece)
            writer.send_window -= len(piece)
            writer.write(frames.build_frame(frames.DATA, 0, self.stream_id, piece))
            writer.earn_frames()  # for the WINDOW_UPDATE with which the client answers
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._trailers is not None and not self.closed:
            flags = frames.END_HEADERS | frames.END_STREAM
            writer.write(frames.build_frame(frames.HEADERS, flags, self.stream_id, self._trailers))
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
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._writer.stream_closed(self)

    def _finish(self) -> None:
        """After the trailers: a client that is still sending is asked to stop (RFC 9113, section 8.1)."""
        if not self.remote_closed:
            self._writer.write(frames.rst_stream(self.stream_id, ErrorCode.NO_ERROR))
        self.close()

"""Splits the bytes that a client sends into frames, and joins HEADERS and CONTINUATION frames into one (RFC 9113)."""

from __future__ import annotations

from collections.abc import Iterator

from serve.transport.http2 import frames
from serve.transport.http2.frames import ErrorCode, Http2ConnectionError
from serve.transport.http2.header_blocks import HEADER_BLOCK_MARGIN

#: Payload bytes of the longest frame that is read: SETTINGS_MAX_FRAME_SIZE.
MAX_FRAME_SIZE = 2**18
#: Payload bytes of the frame types that have a fixed size; the types that need stream 0, or a stream other than 0.
_FIXED_SIZES = {frames.PRIORITY: 5, frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_CONNECTION_FRAMES = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_STREAM_FRAMES = (frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION)
#: Frames that a header block may be split into.
_MAX_FRAGMENTS = 64


class Http1Request(Http2ConnectionError):  # noqa: N818 - a fact about the client
    """The client speaks HTTP/1.1."""


class FrameReader:
    """Reads the frames of one connection; keeps the bytes of a frame that is not complete yet."""

    def __init__(self, max_header_list_size: int) -> None:
        """Header blocks may be somewhat larger than ``max_header_list_size`` (bytes): their sender gets a status."""
        self._max_block = max_header_list_size + HEADER_BLOCK_MARGIN
        self._buffer = bytearray()
        #: Bytes in the buffer below which there is nothing to read.
        self._needed = len(frames.PREFACE)
        self._preface_read = False
        #: The stream, the flags and the fragments of a header block that is not complete yet.
        self._block: tuple[int, int, list[bytes]] | None = None

    @property
    def in_block(self) -> bool:
        """Whether a header block has begun and is not complete."""
        return self._block is not None

    def read_frames(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, stream identifier and payload of each frame that ``data`` completes.

        HEADERS frames come with their whole header block, without padding and priority; a piece of it that is not the
        last comes as an empty CONTINUATION frame before, so that it can be counted.

        Raises:
            Http1Request: the client speaks HTTP/1.1.
            Http2ConnectionError: the bytes are not HTTP/2, or a frame or a header block is too large.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        at, size = 0, len(data)
        if not self._preface_read and not (at := self._read_preface(data)):
            self._buffer += data
            return
        self._needed = 9
        while size - at >= 9:
            word = int.from_bytes(data[at : at + 4], "big")
            length, frame_type = word >> 8, word & 255
            if length > MAX_FRAME_SIZE:
                raise Http2ConnectionError(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame has {length} bytes; at most {MAX_FRAME_SIZE} are read"
                )
            end = at + 9 + length
            if end > size:
                self._needed = 9 + length
                break
            flags, stream_id = data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big") & frames.MAX_WINDOW
            payload, at = data[at + 9 : end], end
            if frame_type in _FIXED_SIZES and length != _FIXED_SIZES[frame_type]:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a frame does not have the size of its type")
            if frame_type in (_CONNECTION_FRAMES if stream_id else _STREAM_FRAMES):
                raise Http2ConnectionError(
                    ErrorCode.PROTOCOL_ERROR, "a frame has a stream identifier that its type does not allow"
                )
            if frame_type == frames.CONTINUATION or self._block is not None:
                flags, payload = self._continue_block(frame_type, flags, stream_id, payload)
                if not flags & frames.END_HEADERS:
                    yield frames.CONTINUATION, 0, stream_id, b""
                    continue
                frame_type = frames.HEADERS
            elif frame_type == frames.HEADERS:
                payload = frames.strip_padding(flags, payload)
                if not flags & frames.END_HEADERS:
                    self._block = stream_id, flags, [payload]
                    continue
            yield frame_type, flags, stream_id, payload
        if at < size:
            self._buffer += data[at:]

    def _read_preface(self, data: bytes) -> int:
        """Where the first frame begins, after the connection preface; 0 if the preface is not complete yet."""
        preface = frames.PREFACE
        if data[: len(preface)] != preface[: len(data)]:
            if data[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD"):
                raise Http1Request(ErrorCode.PROTOCOL_ERROR, "this is HTTP/1.1")
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(data) < len(preface):
            return 0
        self._preface_read = True
        return len(preface)

    def _continue_block(self, frame_type: int, flags: int, stream_id: int, payload: bytes) -> tuple[int, bytes]:
        """Add a fragment to the header block: the flags and the whole block, or no flags while it is not complete."""
        if self._block is None:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without a header block before it")
        block_stream, first_flags, parts = self._block
        if frame_type != frames.CONTINUATION or stream_id != block_stream:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "another frame within a header block")
        parts.append(payload)
        if sum(map(len, parts)) > self._max_block or len(parts) > _MAX_FRAGMENTS:
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too long")
        if not flags & frames.END_HEADERS:
            return 0, b""
        self._block = None
        return first_flags | frames.END_HEADERS, b"".join(parts)

"""Reader: what a client sends, cut into frames; a header block that came in pieces is one frame again."""

from __future__ import annotations

from collections.abc import Iterator

from serve.transport.http2 import frames
from serve.transport.http2.frames import Code, Violation
from serve.transport.http2.header_blocks import SPARE

#: Bytes of the longest frame that is read.
FRAME = 2**18
#: Bytes of frames that are always of one size, and frames that are of the connection or of a stream.
_SIZES = {frames.PRIORITY: 5, frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_OF_CONNECTION = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_OF_STREAM = (frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION)
#: Frames that a header block may be split into.
_PIECES = 64


class Elsewhere(Violation):
    """The client speaks HTTP/1.1."""


class Reader:
    """Keeps what is not whole yet."""

    def __init__(self, head: int) -> None:
        """``head`` is the limit of a header block in bytes, as far as it is worth reading."""
        self._most = head + SPARE
        self._rest = bytearray()
        self._needed = len(frames.PREFACE)
        self._greeted = False
        #: The stream, the flags and the pieces of a header block that is not whole yet.
        self._block: tuple[int, int, list[bytes]] | None = None

    @property
    def in_block(self) -> bool:
        """Whether a header block has begun and not ended."""
        return self._block is not None

    def frames(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of each frame that is whole now; HEADERS without padding and priority.

        Raises:
            Violation: what came is no HTTP/2, or a frame or a header block is too large.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, size = 0, len(data)
        if not self._greeted and not (at := self._greet(data)):
            self._rest += data
            return
        self._needed = 9
        while size - at >= 9:
            word = int.from_bytes(data[at : at + 4], "big")
            length, kind = word >> 8, word & 255
            if length > FRAME:
                raise Violation(Code.FRAME_SIZE_ERROR, f"a frame has {length} bytes; at most {FRAME} are read")
            end = at + 9 + length
            if end > size:
                self._needed = 9 + length
                break
            flags, number = data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big") & frames.MOST
            payload, at = data[at + 9 : end], end
            if kind in _SIZES and length != _SIZES[kind]:
                raise Violation(Code.FRAME_SIZE_ERROR, "a frame has not the size of its kind")
            if kind in (_OF_CONNECTION if number else _OF_STREAM):
                raise Violation(Code.PROTOCOL_ERROR, "a frame has a stream that should have none, or none")
            if kind == frames.CONTINUATION or self._block is not None:
                flags, payload = self._continued(kind, flags, number, payload)
                if not flags & frames.END_HEADERS:
                    continue
                kind = frames.HEADERS
            elif kind == frames.HEADERS:
                payload = frames.content(flags, payload)
                if not flags & frames.END_HEADERS:
                    self._block = number, flags, [payload]
                    continue
            yield kind, flags, number, payload
        if at < size:
            self._rest += data[at:]

    def _greet(self, data: bytes) -> int:
        """Where what follows the words begins with which every client begins; 0 where they are not whole yet."""
        greeting = frames.PREFACE
        if data[: len(greeting)] != greeting[: len(data)]:
            if data[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD"):
                raise Elsewhere(Code.PROTOCOL_ERROR, "this is HTTP/1.1")
            raise Violation(Code.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(data) < len(greeting):
            return 0
        self._greeted = True
        return len(greeting)

    def _continued(self, kind: int, flags: int, number: int, payload: bytes) -> tuple[int, bytes]:
        """The flags and, where it is whole, the content of a header block in pieces."""
        if self._block is None:
            raise Violation(Code.PROTOCOL_ERROR, "a header block goes on that never began")
        begun, first, parts = self._block
        if kind != frames.CONTINUATION or number != begun:
            raise Violation(Code.PROTOCOL_ERROR, "another frame within a header block")
        parts.append(payload)
        if sum(map(len, parts)) > self._most or len(parts) > _PIECES:
            raise Violation(Code.ENHANCE_YOUR_CALM, "a header block is too long")
        if not flags & frames.END_HEADERS:
            return 0, b""
        self._block = None
        return first | frames.END_HEADERS, b"".join(parts)

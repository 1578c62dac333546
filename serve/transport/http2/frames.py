"""Encodes and decodes HTTP/2 frames, settings and error codes (RFC 9113, sections 4, 6 and 7)."""

from __future__ import annotations

from enum import IntEnum

#: The connection preface: what a client sends first (section 3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
#: Flags; what 0x1 means depends on the type of frame.
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20

#: Identifiers of settings (section 6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH = 1, 2
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 5, 6
#: Bytes of the dynamic table of HPACK until a SETTINGS frame changes it; settings that one frame may have.
DEFAULT_TABLE_SIZE, MAX_SETTINGS = 4096, 32
#: The largest flow-control window, which is also the largest stream identifier; and the window and the frame size, in
#: bytes, that hold until a SETTINGS frame changes them.
MAX_WINDOW, DEFAULT_WINDOW, DEFAULT_FRAME_SIZE = 2**31 - 1, 65_535, 16_384


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Http2ConnectionError(Exception):
    """A connection error (section 5.4.1): the client broke the protocol in a way that ends the connection."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def build_frame(frame_type: int, flags: int, stream_id: int, payload: bytes | memoryview = b"") -> bytes:
    """A whole frame: its header of nine bytes, then ``payload``."""
    return b"".join(
        (len(payload).to_bytes(3, "big"), bytes((frame_type, flags)), stream_id.to_bytes(4, "big"), payload)
    )


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame: the peer may send ``increment`` bytes more, on the whole connection for stream 0."""
    return build_frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """An RST_STREAM frame: ends one stream."""
    return build_frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def goaway(last_stream_id: int, code: ErrorCode, reason: str = "") -> bytes:
    """A GOAWAY frame: no stream after ``last_stream_id`` is processed. ``reason`` is its debug data."""
    return build_frame(GOAWAY, 0, 0, last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + reason.encode())


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame with these values by identifier."""
    pairs = (name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())
    return build_frame(SETTINGS, 0, 0, b"".join(pairs))


def header_frames(stream_id: int, block: bytes, flags: int, max_frame_size: int) -> bytes:
    """A HEADERS frame with a header block, and CONTINUATION frames for what is longer than ``max_frame_size`` bytes."""
    if len(block) <= max_frame_size:
        return build_frame(HEADERS, flags | END_HEADERS, stream_id, block)
    pieces = [block[at : at + max_frame_size] for at in range(0, len(block), max_frame_size)]
    middle = (build_frame(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:-1])
    last = build_frame(CONTINUATION, END_HEADERS, stream_id, pieces[-1])
    return b"".join((build_frame(HEADERS, flags, stream_id, pieces[0]), *middle, last))


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """The identifiers and values of a SETTINGS frame in their order; an identifier may come several times.

    Raises:
        Http2ConnectionError: the payload is cut off, or a value is out of its range.
    """
    if len(payload) % 6:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "settings are cut off")
    if len(payload) > 6 * MAX_SETTINGS:
        raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, f"a SETTINGS frame has more than {MAX_SETTINGS} values")
    values = [
        (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        for at in range(0, len(payload), 6)
    ]
    for name, value in values:
        if name == ENABLE_PUSH and value > 1:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if name == MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value < 2**24:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of its range")
    return values


def strip_padding(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding and its priority fields (sections 6.1 and 6.2).

    Raises:
        Http2ConnectionError: the padding is longer than the frame, or the frame ends before its content.
    """
    if not flags & (PADDED | HAS_PRIORITY):
        return payload
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a padded frame is empty")
        start, end = 1, end - payload[0]
    if flags & HAS_PRIORITY:
        start += 5
    if start > len(payload):
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a frame is cut off")
    if start > end:
        raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a frame has more padding than content")
    return payload[start:end]


def increment_error(increment: int) -> ErrorCode:
    """The error of a WINDOW_UPDATE that is not allowed (RFC 9113, sections 6.9 and 6.9.1)."""
    return ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR

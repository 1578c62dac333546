"""Frames: the bytes of HTTP/2 (RFC 9113, sections 4, 6 and 7)."""

from __future__ import annotations

from enum import IntEnum

#: What a client sends first.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
#: Flags; what 1 means depends on the kind of frame.
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITISED = 0x4, 0x8, 0x20

#: Names of settings.
STREAMS, WINDOW, FRAME, HEAD = 3, 4, 5, 6
#: The largest window, and the windows and frames of a connection on which nobody said otherwise.
MOST, USUAL_WINDOW, USUAL_FRAME = 2**31 - 1, 65_535, 16_384


class Code(IntEnum):
    """Why a stream or a connection ends."""

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


class Violation(Exception):  # noqa: N818 - the client's, not an error of ours
    """The client broke the protocol in a way that ends the connection."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """One frame."""
    return b"".join((len(payload).to_bytes(3, "big"), bytes((kind, flags)), stream.to_bytes(4, "big"), payload))


def window_update(stream: int, more: int) -> bytes:
    """The frame that lets the other side send ``more`` bytes."""
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def reset(stream: int, code: Code) -> bytes:
    """The frame that ends one stream."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: Code, reason: str = "") -> bytes:
    """The frame that ends a connection after its stream ``last``."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + reason.encode())


def settings(values: dict[int, int]) -> bytes:
    """The frame with our settings."""
    pairs = (name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def read_settings(payload: bytes) -> dict[int, int]:
    """The other side's settings.

    Raises:
        Violation: they are cut off, or out of their ranges.
    """
    if len(payload) % 6:
        raise Violation(Code.FRAME_SIZE_ERROR, "settings are cut off")
    values = {
        int.from_bytes(payload[at : at + 2], "big"): int.from_bytes(payload[at + 2 : at + 6], "big")
        for at in range(0, len(payload), 6)
    }
    if values.get(2, 0) > 1:
        raise Violation(Code.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    if values.get(WINDOW, 0) > MOST:
        raise Violation(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
    if not USUAL_FRAME <= values.get(FRAME, USUAL_FRAME) < 2**24:
        raise Violation(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of its range")
    return values


def content(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame holds beside padding and priority.

    Raises:
        Violation: the padding is longer than the frame.
    """
    if not flags & (PADDED | PRIORITISED):
        return payload
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise Violation(Code.FRAME_SIZE_ERROR, "a padded frame is empty")
        start, end = 1, end - payload[0]
    if flags & PRIORITISED:
        start += 5
    if start > end:
        raise Violation(Code.PROTOCOL_ERROR, "a frame has more padding than content")
    return payload[start:end]

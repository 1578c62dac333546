"""Read the fields of Protocol Buffers messages in ONNX files, without the package ONNX.

Source: the wire format of Protocol Buffers, https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: its number, and where its content starts and ends."""

    number: int
    start: int
    end: int
    #: The number, if the field is a varint; else None.
    value: int | None = None


def fields(content: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """The fields of a message that are a varint or have a length; fields of a fixed size are skipped.

    Raises:
        ValueError, IndexError: it is not a message, or it is truncated.
    """
    at = start
    while at < end:
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, at = _varint(content, at)
            if at + size > end:
                raise ValueError("a field ends after its message")
            yield Field(number, at, at + size)
            at += size
        elif wire == _VARINT:
            begin = at
            value, at = _varint(content, at)
            yield Field(number, begin, at, value)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("not a field of a message")
    if at != end:
        raise ValueError("a field ends after its message")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """Decode a varint; return its value and the position after it."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")

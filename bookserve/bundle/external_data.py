"""External: which files an ONNX file reads beside itself, found without ONNX and without reading the weights.

An ONNX file may keep tensors in other files and name them by any path; ``../../etc/passwd`` was such a path in three
published attacks. Whoever opens an ONNX file therefore asks first what else it would open.

Source: ``onnx.proto`` – the fields below by number – and the wire format of Protocol Buffers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from bookserve.errors import Failed

#: Everything between a model and its tensors: by message and number of a field, the message that the field holds.
#: Fields that are not named here are skipped unread.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Graphs within graphs; no converter writes more than a handful.
_DEEPEST = 200


def external_data_locations(path: Path) -> list[str]:
    """The paths of external tensors as the ONNX file ``path`` gives them, each once, in order.

    Raises:
        Failed: it is not an ONNX file, or one cut off.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise Failed(f"{path} is empty.", "Export the model again.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return list(dict.fromkeys(_locations(content)))
            except (ValueError, IndexError, UnicodeDecodeError) as error:
                raise Failed(f"{path} is no whole ONNX file.", "It is damaged: write it again.") from error


def _locations(content: mmap.mmap) -> Iterator[str]:
    waiting = [("model", 0, len(content), 0)]
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError("graphs are nested too deeply")
        for number, begin, stop in _fields(content, start, end):
            inner = _MESSAGES[kind].get(number)
            if inner == "entry":
                key, value = _entry(content, begin, stop)
                if key == "location":
                    yield value
            elif inner:
                waiting.append((inner, begin, stop, depth + 1))


def _entry(content: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """Key and value of a ``StringStringEntryProto``."""
    found = {number: content[begin:stop].decode() for number, begin, stop in _fields(content, start, end)}
    return found.get(1, ""), found.get(2, "")


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, first and last position of each length-delimited field of a message; the others are passed over."""
    at = start
    while at < end:
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, at = _varint(content, at)
            if at + size > end:
                raise ValueError("a field ends behind its message")
            yield number, at, at + size
            at += size
        elif wire == _VARINT:
            _, at = _varint(content, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("not a field of a message")
    if at != end:
        raise ValueError("a field ends behind its message")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the position behind it."""
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

"""List the external data files of an ONNX file, without the package ONNX and without reading the weights.

An ONNX file can keep tensors in other files and name them by any path; three published attacks used paths such as
``../../etc/passwd``. So these paths are checked before a session opens the file.

Source: ``onnx.proto`` (the fields below by number) and the wire format of Protocol Buffers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from bookserve.errors import Failed

#: The messages between a model and its tensors: message → number of a field → message in that field.
#: All other fields are skipped.
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
#: Maximum nesting of graphs; converters write only a few levels.
_DEEPEST = 200


def external_data_locations(path: Path) -> list[str]:
    """The paths of external tensors as written in the ONNX file ``path``, each once, in order.

    Raises:
        Failed: the file is not an ONNX file, or it is truncated.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise Failed(f"{path} is empty.", "Export the model again.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return list(dict.fromkeys(_locations(content)))
            except (ValueError, IndexError, UnicodeDecodeError) as error:
                raise Failed(f"{path} is not a complete ONNX file.", "It is damaged: export it again.") from error


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
    """Number, start and end of each length-delimited field of a message; other fields are skipped."""
    at = start
    while at < end:
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, at = _varint(content, at)
            if at + size > end:
                raise ValueError("a field ends after its message")
            yield number, at, at + size
            at += size
        elif wire == _VARINT:
            _, at = _varint(content, at)
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

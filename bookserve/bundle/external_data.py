"""List the external data files of an ONNX file, without the package ONNX and without reading the weights.

An ONNX file can keep tensors in other files and name them by any path; three published attacks used paths such as
``../../etc/passwd``. So these paths are checked before a session opens the file.

Source: ``onnx.proto`` (the fields below by number) and the wire format of Protocol Buffers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from bookserve.bundle.onnx_wire import fields
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
        for number, begin, stop, value in fields(content, start, end):
            inner = _MESSAGES[kind].get(number) if value is None else None
            if inner == "entry":
                key, text = _entry(content, begin, stop)
                if key == "location":
                    yield text
            elif inner:
                waiting.append((inner, begin, stop, depth + 1))


def _entry(content: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """Key and value of a ``StringStringEntryProto``."""
    found = {part.number: content[part.start : part.end].decode() for part in fields(content, start, end)}
    return found.get(1, ""), found.get(2, "")

"""Writes long JSON in pieces, so that a server can do other work between them.

Each piece has at most ``PIECE_BYTES`` bytes and takes a few milliseconds to write. Documents may hold arrays, and
iterators in place of lists, so that no list of all rows is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from serve.codecs.json_document import array_to_json, dumps

#: Bytes of the longest piece.
PIECE_BYTES = 2**20
#: Elements of all arrays of an answer up to which it is written at once; they make about half a megabyte of text.
INLINE_ELEMENTS = 40_000

#: A piece ends when it has this many bytes or texts. Together with the longest text, it stays below ``PIECE_BYTES``.
_ENOUGH_BYTES, _ENOUGH_TEXTS = 2**18, 500
#: Elements of an array, and items of a list, that are written together. A number takes at most 26 bytes.
_ELEMENTS, _ITEMS = 20_000, 200
#: Bytes of the longest text that is not cut.
_LONGEST = 2**19


#: Gives the JSON text of an array.
WriteArray = Callable[[np.ndarray], bytes]


def _write_array(array: np.ndarray) -> bytes:
    """The JSON of an array with the literals NaN and Infinity, as TensorFlow Serving and Triton write it."""
    return dumps(array_to_json(array))


def is_long(arrays: Iterable[np.ndarray]) -> bool:
    """Whether an answer of these arrays is to be written in pieces."""
    elements = 0
    for array in arrays:
        elements += array.size
    return elements > INLINE_ELEMENTS


def json_pieces(document: Any, write: WriteArray = _write_array) -> Iterator[bytes]:
    """The JSON of a document in pieces; ``write`` gives the text of a small array.

    It consists of what ``dumps`` takes, arrays of numbers or booleans, iterators in place of lists, and ``bytes`` for
    parts that are JSON already.
    """
    gathered: list[bytes] = []
    size = 0
    for text in _texts(document, write):
        for start in range(0, len(text), _LONGEST):
            part = text[start : start + _LONGEST] if len(text) > _LONGEST else text
            gathered.append(part)
            size += len(part)
            if size >= _ENOUGH_BYTES or len(gathered) >= _ENOUGH_TEXTS:
                yield b"".join(gathered)
                gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def byte_pieces(data: memoryview) -> Iterator[bytes]:
    """Bytes in pieces."""
    for start in range(0, len(data), PIECE_BYTES):
        yield bytes(data[start : start + PIECE_BYTES])


def _texts(value: Any, write: WriteArray) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, np.ndarray):
        yield from _texts_of_array(value, write)
    elif isinstance(value, dict):
        for index, (name, item) in enumerate(value.items()):
            yield b"%b%b:" % (b"," if index else b"{", dumps(name))
            yield from _texts(item, write)
        yield b"}" if value else b"{}"
    elif isinstance(value, list) and len(value) > _ITEMS:  # so many items are small: numbers, strings, short objects
        blocks = (dumps(value[start : start + _ITEMS])[1:-1] for start in range(0, len(value), _ITEMS))
        yield from _joined(blocks)
    elif isinstance(value, list | Iterator):
        yield from _joined(_texts(item, write) for item in value)
    else:
        yield dumps(value)


def _texts_of_array(array: np.ndarray, write: WriteArray) -> Iterator[bytes]:
    if array.size <= _ELEMENTS:
        yield write(array)
        return
    rows = _ELEMENTS // (array.size // len(array))
    if rows:
        starts = range(0, len(array), rows)
        yield from _joined(write(array[start : start + rows])[1:-1] for start in starts)
    else:
        yield from _joined(_texts_of_array(row, write) for row in array)


def _joined(items: Iterable[bytes | Iterator[bytes]]) -> Iterator[bytes]:
    """A JSON list of these items."""
    yield b"["
    for index, item in enumerate(items):
        texts = (item,) if isinstance(item, bytes) else item
        yield from chain((b",",), texts) if index else texts
    yield b"]"

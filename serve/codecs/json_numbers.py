"""Parses a JSON list of numbers, nested or flat, into one flat array, without a Python object for each number."""

from __future__ import annotations

import threading
from typing import Literal, cast

import numpy as np
import simdjson

#: All bytes that may occur in numbers, and the whitespace between them; commas and brackets are not included.
NUMBER_BYTES = b"0123456789+-.eE \t\r\n"
_KINDS = "fiu"
#: Texts longer than this (bytes) get a parser of their own: a parser keeps the memory that its longest text needed.
_MAX_KEPT = 4 << 20


class _Parsers(threading.local):
    """One parser for each thread, since bodies are parsed in several threads.

    A new parser for each text would cost more than the parsing: its memory would be returned to the system and mapped
    again every time.
    """

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_PARSERS = _Parsers()


def is_readable(dtype: np.dtype) -> bool:
    """Whether ``parse_numbers`` supports that dtype."""
    return dtype.kind in _KINDS and dtype != np.float16


def parse_numbers(text: bytes | memoryview, dtype: np.dtype) -> np.ndarray | None:
    """The numbers in the JSON list ``text`` as a flat array of a dtype that ``is_readable``.

    None if the text is not JSON, or a number is out of range or of another kind than the dtype: the caller then parses
    it in the ordinary way, which gives a precise error.
    """
    kind, wide = _PARSED_AS[dtype.kind == "f"]
    try:
        parser = _PARSERS.parser if len(text) <= _MAX_KEPT else simdjson.Parser()
        numbers = cast(simdjson.Array, parser.parse(text))
        parsed = np.frombuffer(numbers.as_buffer(of_type=kind), wide)
    except (ValueError, TypeError, RuntimeError):  # RuntimeError: an integer of more than 64 bits
        return None
    if kind == "d":
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            return parsed.astype(dtype)
    array = parsed.astype(dtype)
    return array if np.array_equal(array, parsed) else None


#: simdjson's type code and NumPy's type of the parsed numbers, by whether the dtype is a float.
_PARSED_AS: dict[bool, tuple[Literal["d", "i"], type[np.float64] | type[np.int64]]] = {
    True: ("d", np.float64),
    False: ("i", np.int64),
}

"""Numbers: a JSON text of nothing but numbers in lists, as one flat array and without a Python object for each."""

from __future__ import annotations

import threading
from typing import Literal, cast

import numpy as np
import simdjson

#: Every byte that a number may have, or that may stand between numbers beside commas and brackets.
NUMBER_BYTES = b"0123456789+-.eE \t\r\n"
_KINDS = "fiu"
#: Bytes; a parser keeps as much memory as its longest text needed, so longer ones get a parser of their own.
_MAX_KEPT = 4 << 20


class _Parsers(threading.local):
    """One parser for each thread, since bodies may be parsed in several. A new one for each text would cost more than
    the parsing: the allocator gives its memory back to the system each time, and has it laid out anew."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_PARSERS = _Parsers()


def is_readable(dtype: np.dtype) -> bool:
    """Whether ``flat`` reads numbers of that kind."""
    return dtype.kind in _KINDS and dtype != np.float16


def parse_numbers(text: bytes | memoryview, dtype: np.dtype) -> np.ndarray | None:
    """The numbers in ``text``, ``[…]``, as a flat array of a ``readable`` dtype, lists within lists unfolded.

    None where it is no JSON, or a number is out of range or not of the dtype's kind: what reads Python values knows
    what to say about it.
    """
    kind, wide = _PARSED_AS[dtype.kind == "f"]
    try:
        parser = _PARSERS.parser if len(text) <= _MAX_KEPT else simdjson.Parser()
        numbers = cast(simdjson.Array, parser.parse(text))
        read = np.frombuffer(numbers.as_buffer(of_type=kind), wide)
    except (ValueError, TypeError):
        return None
    if kind == "d":
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            return read.astype(dtype)
    array = read.astype(dtype)
    return array if np.array_equal(array, read) else None


#: What simdjson reads the numbers as, and NumPy's name for that: whether they are floats.
_PARSED_AS: dict[bool, tuple[Literal["d", "i"], type[np.float64] | type[np.int64]]] = {
    True: ("d", np.float64),
    False: ("i", np.int64),
}

"""Regular: the quick way through the commonest request – one input, and numbers nested exactly as the graph declares.

Python objects for every nested list are most of what a JSON request costs. Here the text without its numbers, the
skeleton, is compared with the one that the declared shape must have; if they are equal the nesting is proved, and
the numbers can be read as one flat list. Anything else – other keys, strings, another shape, a number out of range –
is left to ``rows.py``, which knows what to say about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import orjson

from bookserve.graph import Arrays, TensorSpec, numpy_dtype

_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_SPACE = b" \t\r\n"
#: Every byte that a number may have becomes a nought.
_NOUGHTS = bytes.maketrans(b"123456789+-.eE", b"0" * 14)
_KINDS: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}}


def feeds(body: bytes, inputs: Mapping[str, TensorSpec]) -> tuple[Arrays, bool] | None:
    """The array in a request's body and whether it came by row, as ``rows.feeds`` gives them; None if not regular."""
    head = _HEAD.match(body)
    if head is None or len(inputs) != 1:
        return None
    name, spec = next(iter(inputs.items()))
    array = _numbers(body[head.end() :].rstrip(_SPACE), spec)
    return None if array is None else ({name: array}, head[1] == b"instances")


def _numbers(text: bytes, spec: TensorSpec) -> np.ndarray | None:
    """The array in ``[…]}``, if it is a batch of rows of the declared shape."""
    shape = tuple(axis for axis in spec.shape[1:] if isinstance(axis, int))
    dtype = numpy_dtype(spec.dtype)
    if spec.shape != ("batch", *shape) or 0 in shape or dtype.kind not in _KINDS or dtype == np.float16:
        return None
    noughts = text.translate(_NOUGHTS, _SPACE)
    if b"0[" in noughts or b"]0" in noughts:  # a number outside the innermost lists
        return None
    row = _row(shape)
    skeleton = noughts.translate(None, b"0")
    count = (len(skeleton) - 2) // (len(row) + 1)
    if count < 1 or skeleton != b"[%b]}" % b",".join([row] * count):
        return None
    try:
        flat = orjson.loads(b"[%b]" % text[:-1].translate(None, b"[]}"))
        if len(flat) == count * int(np.prod(shape)) and _KINDS[dtype.kind].issuperset(map(type, flat)):
            return np.array(flat, dtype).reshape(count, *shape)
    except (orjson.JSONDecodeError, OverflowError):
        pass  # no numbers, or one out of range
    return None


@lru_cache(64)
def _row(shape: tuple[int, ...]) -> bytes:
    """The skeleton of one row: ``[,]`` for shape (2,)."""
    return b"[%b]" % b",".join([_row(shape[1:])] * shape[0]) if shape else b""

"""Regular: the quick way through the commonest request – one input, and numbers nested exactly as the graph declares.

Python objects for every nested list are most of what a JSON request costs. Here the text without its numbers, the
skeleton, is compared with the one that the declared shape must have; if they are equal the nesting is proved, and
simdjson hands over the numbers as one buffer. Anything else – other keys, strings, another shape, a number out of
range – is left to ``rows.py``, which knows what to say about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, cast

import numpy as np
import simdjson

from bookserve.graph import Arrays, TensorSpec, numpy_dtype

_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_SPACE = b" \t\r\n"
#: Every byte that a number may have, or that may stand between numbers.
_NUMBERS = b"0123456789+-.eE" + _SPACE
_KINDS = "fiu"


class _Form(NamedTuple):
    """What text must look like to be a batch of one tensor's rows."""

    dtype: np.dtype
    #: What simdjson reads the numbers as: 'd' or 'i', and NumPy's name for that.
    kind: Literal["d", "i"]
    wide: type[np.float64] | type[np.int64]
    shape: tuple[int, ...]
    #: How many numbers a row has, and the row without them: ``[,]`` for shape (2,).
    size: int
    skeleton: bytes


def feeds(body: bytes, inputs: Mapping[str, TensorSpec]) -> tuple[Arrays, bool] | None:
    """The array in a request's body and whether it came by row, as ``rows.feeds`` gives them; None if not regular."""
    head = _HEAD.match(body)
    if head is None or len(inputs) != 1:
        return None
    name, spec = next(iter(inputs.items()))
    form = _form(spec)
    array = form and _numbers(body[head.end() :].rstrip(_SPACE), form)
    return None if array is None else ({name: array}, head[1] == b"instances")


def _numbers(text: bytes, form: _Form) -> np.ndarray | None:
    """The array in ``[…]}``, if it is a batch of rows of the declared shape."""
    skeleton = text.translate(None, _NUMBERS)
    rows = (len(skeleton) - 2) // (len(form.skeleton) + 1)
    if rows < 1 or skeleton != b"[%b]}" % b",".join([form.skeleton] * rows):
        return None
    try:
        # A parser of its own for each call: bodies may be parsed in threads, and a parser lends out its memory.
        numbers = cast(simdjson.Array, simdjson.Parser().parse(text[:-1]))
        flat = np.frombuffer(numbers.as_buffer(of_type=form.kind), form.wide)
    except (ValueError, TypeError):  # no JSON, a number out of range, or one that is none of the kind
        return None
    if len(flat) != rows * form.size:  # an innermost list of one number may have been empty
        return None
    if form.kind == "d":
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            array = flat.astype(form.dtype)
    else:
        array = flat.astype(form.dtype)
        if not np.array_equal(array, flat):
            return None
    return array.reshape(rows, *form.shape)


@lru_cache(64)
def _form(spec: TensorSpec) -> _Form | None:
    """The form of a tensor whose rows are numbers in a declared shape; None for any other."""
    shape = tuple(axis for axis in spec.shape[1:] if isinstance(axis, int))
    dtype = numpy_dtype(spec.dtype)
    if spec.shape != ("batch", *shape) or 0 in shape or dtype.kind not in _KINDS or dtype == np.float16:
        return None
    is_float = dtype.kind == "f"
    return _Form(
        dtype, "d" if is_float else "i", np.float64 if is_float else np.int64, shape, math.prod(shape), _row(shape)
    )


def _row(shape: tuple[int, ...]) -> bytes:
    return b"[%b]" % b",".join([_row(shape[1:])] * shape[0]) if shape else b""

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
from typing import NamedTuple

import numpy as np

from bookserve.graph import Arrays, TensorSpec, numpy_dtype
from serve.codecs.json_numbers import NUMBER_BYTES, is_readable, parse_numbers

_SPACE = b" \t\r\n"
_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[)')


class _RowForm(NamedTuple):
    """What text must look like to be a batch of one tensor's rows."""

    dtype: np.dtype
    shape: tuple[int, ...]
    #: How many numbers a row has, and the row without them: ``[,]`` for shape (2,).
    size: int
    skeleton: bytes


def parse_regular(body: bytes, inputs: Mapping[str, TensorSpec]) -> tuple[Arrays, bool] | None:
    """The array in a request's body and whether it came by row, as ``rows.feeds`` gives them; None if not regular."""
    head = _HEAD.match(body)
    if head is None or len(inputs) != 1:
        return None
    name, spec = next(iter(inputs.items()))
    form = _row_form(spec)
    array = form and _array(body, head, form)
    return None if array is None else ({name: array}, head[1] == b"instances")


def _array(body: bytes, head: re.Match[bytes], form: _RowForm) -> np.ndarray | None:
    """The array between the head and the last brace, if it is a batch of rows of the declared shape."""
    skeleton, before = body.translate(None, NUMBER_BYTES), head[0].translate(None, NUMBER_BYTES)
    rows = (len(skeleton) - len(before) - 2) // (len(form.skeleton) + 1)
    if rows < 1 or skeleton != b"%b[%b]}" % (before, b",".join([form.skeleton] * rows)):
        return None
    end = body.rindex(b"]") + 1
    if body[end:].strip(_SPACE) != b"}":
        return None
    # A view: long bodies are not copied.
    array = parse_numbers(memoryview(body)[head.end() : end], form.dtype)
    if array is None or len(array) != rows * form.size:  # an innermost list of one number may have been empty
        return None
    return array.reshape(rows, *form.shape)


@lru_cache(64)
def _row_form(spec: TensorSpec) -> _RowForm | None:
    """The form of a tensor whose rows are numbers in a declared shape; None for any other."""
    shape = tuple(axis for axis in spec.shape[1:] if isinstance(axis, int))
    dtype = numpy_dtype(spec.dtype)
    if spec.shape != ("batch", *shape) or 0 in shape or not is_readable(dtype):
        return None
    return _RowForm(dtype, shape, math.prod(shape), _row_skeleton(shape))


def _row_skeleton(shape: tuple[int, ...]) -> bytes:
    return b"[%b]" % b",".join([_row_skeleton(shape[1:])] * shape[0]) if shape else b""

"""Parses the most common predict request fast: one input, and numbers nested exactly as the graph declares.

Most of the cost of a JSON request is making Python objects for nested lists. Here the text without its numbers (the
skeleton) is compared with the skeleton that the declared shape must have. If they are equal, the nesting is right, and
simdjson returns the numbers as one buffer. Any other request (other keys, strings, another shape, a number out of
range) is left to ``serve/protocols/tfserving/predict_json.py``, which gives precise errors.
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
    """The form of the rows of one tensor in JSON text."""

    dtype: np.dtype
    shape: tuple[int, ...]
    #: Number of elements of a row, and the text of a row without its numbers: ``[,]`` for shape (2,).
    size: int
    skeleton: bytes


def parse_regular(body: bytes, inputs: Mapping[str, TensorSpec]) -> tuple[Arrays, bool] | None:
    """The input array of a request, and whether it came by row (``instances``); None if the request is not regular."""
    head = _HEAD.match(body)
    if head is None or len(inputs) != 1:
        return None
    name, spec = next(iter(inputs.items()))
    form = _row_form(spec)
    array = form and _array(body, head, form)
    return None if array is None else ({name: array}, head[1] == b"instances")


def _array(body: bytes, head: re.Match[bytes], form: _RowForm) -> np.ndarray | None:
    """The array between the head and the last brace; None if it is not a batch of rows of the declared shape."""
    skeleton, before = body.translate(None, NUMBER_BYTES), head[0].translate(None, NUMBER_BYTES)
    rows = (len(skeleton) - len(before) - 2) // (len(form.skeleton) + 1)
    if rows < 1 or skeleton != b"%b[%b]}" % (before, b",".join([form.skeleton] * rows)):
        return None
    end = body.rindex(b"]") + 1
    if body[end:].strip(_SPACE) != b"}":
        return None
    # A view, so that long bodies are not copied.
    array = parse_numbers(memoryview(body)[head.end() : end], form.dtype)
    if array is None or len(array) != rows * form.size:  # an innermost list for one number may be empty
        return None
    return array.reshape(rows, *form.shape)


@lru_cache(64)
def _row_form(spec: TensorSpec) -> _RowForm | None:
    """The form of a tensor's rows; None unless they are numbers in a fully declared shape."""
    shape = tuple(axis for axis in spec.shape[1:] if isinstance(axis, int))
    dtype = numpy_dtype(spec.dtype)
    if spec.shape != ("batch", *shape) or 0 in shape or not is_readable(dtype):
        return None
    return _RowForm(dtype, shape, math.prod(shape), _row_skeleton(shape))


def _row_skeleton(shape: tuple[int, ...]) -> bytes:
    return b"[%b]" % b",".join([_row_skeleton(shape[1:])] * shape[0]) if shape else b""

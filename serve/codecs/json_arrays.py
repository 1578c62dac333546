"""Converts nested JSON lists to arrays, strictly: a number, a boolean and a string are never taken for each other.

Errors have TensorFlow Serving's messages.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from bookserve.api.base64_text import decode_base64
from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype

#: Most axes that an array may have; NumPy's own limit is 64.
MAX_AXES = 32
#: Largest product of the other axes of an array with a size of 0: NumPy refuses what it could not address.
MAX_EMPTY_ELEMENTS = 2**48

#: Longest text of a JSON value in an error message, in characters.
MAX_SHOWN = 200
_ENCODER = json.JSONEncoder(ensure_ascii=False)

_ACCEPTED: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def to_array(value: Any, dtype: str, type_name: str) -> np.ndarray:
    """An array of that dtype from a scalar or from regularly nested lists; the nesting gives the shape.

    Integers must be written without a point and lie in the range of the dtype; booleans are true and false; strings are
    text or ``{"b64": …}``; floats may be any number. ``type_name`` is the protocol's name of the dtype, for errors.

    Raises:
        InvalidInput: an element has another type or is out of range, or lists differ in length.
    """
    leaves, shape = _flatten(value)
    if len(shape) > MAX_AXES:
        raise InvalidInput(f"the lists are nested {len(shape)} deep; at most {MAX_AXES} are supported.")
    flat = _strings(leaves, type_name) if dtype == "string" else _numbers(leaves, numpy_dtype(dtype), type_name)
    return flat.reshape(shape)


def is_shape(sizes: Sequence[int]) -> bool:
    """Whether these sizes are a shape that NumPy accepts; the number of elements is not checked."""
    if len(sizes) > MAX_AXES or min(sizes, default=0) < 0:
        return False
    return 0 not in sizes or math.prod(size for size in sizes if size) <= MAX_EMPTY_ELEMENTS


def is_b64(value: Any) -> bool:
    """Whether ``value`` is the JSON form of bytes, ``{"b64": "…"}``."""
    return type(value) is dict and value.keys() == {"b64"} and type(value["b64"]) is str


def decode_b64(leaves: list[Any], type_name: str = "string") -> list[bytes]:
    """The bytes of JSON strings, each a text or ``{"b64": …}``.

    Raises:
        InvalidInput: a value of another type, or text that is not base64.
    """
    return [leaf.encode() if type(leaf) is str else _from_b64(leaf, type_name) for leaf in leaves]


def shorten(value: Any) -> str:
    """A JSON value as text for an error message, cut after ``MAX_SHOWN`` characters."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{_ENCODER.encode(value[:MAX_SHOWN])}…"
    text = ""
    for part in _ENCODER.iterencode(value):  # lazily, part by part: the value may be the whole request
        text += part[: MAX_SHOWN + 1]
        if len(text) > MAX_SHOWN:
            return f"{text[:MAX_SHOWN]}…"
    return text


def kind_of(value: Any) -> str:
    """The kind of a JSON value, for an error message: ``Number``, ``String``, …, and ``True`` or ``False``."""
    return str(value) if type(value) is bool else _KINDS[type(value)]


def _flatten(value: Any) -> tuple[list[Any], list[int]]:
    """The elements in row-major order, and the shape."""
    if type(value) is not list:
        return [value], []
    shape = [len(value)]
    while value and type(value[0]) is list:
        if set(map(type, value)) != {list}:
            stray = next(item for item in value if type(item) is not list)
            raise InvalidInput(
                f"JSON Value: {shorten(stray)} found at incorrect level: {len(shape) + 1} in the JSON DOM. "
                "All values must be nested equally deep."
            )
        size = len(value[0])
        if set(map(len, value)) != {size}:
            other = next(len(item) for item in value if len(item) != size)
            raise InvalidInput(
                f"Encountered list at unexpected size: {other} at level: {len(shape)} expected size: {size}"
            )
        value = list(chain.from_iterable(value))
        shape.append(size)
    return value, shape


def _numbers(leaves: list[Any], dtype: np.dtype, type_name: str) -> np.ndarray:
    accepted = _ACCEPTED[dtype.kind]
    if not accepted.issuperset(map(type, leaves)):
        raise _wrong_type(next(leaf for leaf in leaves if type(leaf) not in accepted), type_name)
    try:
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            return np.array(leaves, dtype)
    except OverflowError:
        raise InvalidInput(
            f"JSON Value: {shorten(_out_of_range(leaves, dtype))} Type: Number is not of expected type: {type_name}.",
            "It is out of range.",
        ) from None


def _out_of_range(leaves: list[Any], dtype: np.dtype) -> Any:
    if dtype.kind == "f":
        return max(leaves, key=abs)
    limits = np.iinfo(dtype)
    return next(leaf for leaf in leaves if not limits.min <= leaf <= limits.max)


def _strings(leaves: list[Any], type_name: str) -> np.ndarray:
    array = np.empty(len(leaves), object)
    array[:] = decode_b64(leaves, type_name)
    return array


def _from_b64(leaf: Any, type_name: str) -> bytes:
    if type(leaf) is not dict:
        raise _wrong_type(leaf, type_name)
    if not is_b64(leaf):
        raise InvalidInput(
            f"JSON Value: {shorten(leaf)} not formatted correctly for base64 data.",
            "Bytes must be an object with the key b64 only.",
        )
    return decode_base64(leaf["b64"])


_KINDS = {list: "Array", dict: "Object", str: "String", int: "Number", float: "Number", type(None): "Null"}


def _wrong_type(leaf: Any, type_name: str) -> InvalidInput:
    if type(leaf) is list:
        return InvalidInput("Encountered list at unexpected level: all values must be nested equally deep.")
    return InvalidInput(f"JSON Value: {shorten(leaf)} Type: {kind_of(leaf)} is not of expected type: {type_name}")

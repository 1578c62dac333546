"""Nested: the lists of a JSON document as arrays, strictly – a number, a truth value and a string are never mixed up.

The sentences are those that TensorFlow Serving's clients know.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype

#: Axes that an array may have; NumPy itself ends at 64.
MAX_AXES = 32
#: Elements that an empty array may have beside its empty axes: NumPy refuses what could not be addressed.
MAX_EMPTY_ELEMENTS = 2**48

_ACCEPTED: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def to_array(value: Any, dtype: str, word: str) -> np.ndarray:
    """A number, string, or (nested, regular) list of them as an array of that dtype; the nesting is its shape.

    Integers must be written without a point and lie in the range of the dtype, truth values are true and false, strings
    are text or ``{"b64": …}``; floats take any number. ``word`` is what the protocol calls the dtype.

    Raises:
        InvalidInput: an element of another kind or out of range, or lists of unequal length.
    """
    leaves, shape = _flatten(value)
    if len(shape) > MAX_AXES:
        raise InvalidInput(f"the lists are nested {len(shape)} deep; at most {MAX_AXES} are possible.")
    flat = _strings(leaves, word) if dtype == "string" else _numbers(leaves, numpy_dtype(dtype), word)
    return flat.reshape(shape)


def is_shape(sizes: Sequence[int]) -> bool:
    """Whether an array may have that shape, if there are as many elements as it says."""
    if len(sizes) > MAX_AXES or min(sizes, default=0) < 0:
        return False
    return 0 not in sizes or math.prod(size for size in sizes if size) <= MAX_EMPTY_ELEMENTS


def is_b64(value: Any) -> bool:
    """Whether ``value`` is the JSON form of bytes."""
    return type(value) is dict and value.keys() == {"b64"} and type(value["b64"]) is str


def decode_b64(leaves: list[Any], word: str = "string") -> list[bytes]:
    """Strings of JSON, each a text or bytes as ``{"b64": …}``.

    Raises:
        InvalidInput: another kind of value, or text that is not base64.
    """
    return [leaf.encode() if type(leaf) is str else _from_b64(leaf, word) for leaf in leaves]


def shorten(value: Any) -> str:
    """A JSON value as errors quote it: long ones are cut."""
    if isinstance(value, list | dict):
        return "[…]" if isinstance(value, list) else "{…}"
    if isinstance(value, str) and len(value) > 64:
        return f"{shorten(value[:64])}…"
    return orjson.dumps(value).decode() if isinstance(value, str | bool) or value is None else str(value)[:64]


def _flatten(value: Any) -> tuple[list[Any], list[int]]:
    """The leaves in row-major order, and the shape."""
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


def _numbers(leaves: list[Any], dtype: np.dtype, word: str) -> np.ndarray:
    accepted = _ACCEPTED[dtype.kind]
    if not accepted.issuperset(map(type, leaves)):
        raise _wrong_type(next(leaf for leaf in leaves if type(leaf) not in accepted), word)
    try:
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            return np.array(leaves, dtype)
    except OverflowError:
        raise InvalidInput(
            f"JSON Value: {shorten(_out_of_range(leaves, dtype))} Type: Number is not of expected type: {word}.",
            "It is out of range.",
        ) from None


def _out_of_range(leaves: list[Any], dtype: np.dtype) -> Any:
    if dtype.kind == "f":
        return max(leaves, key=abs)
    limits = np.iinfo(dtype)
    return next(leaf for leaf in leaves if not limits.min <= leaf <= limits.max)


def _strings(leaves: list[Any], word: str) -> np.ndarray:
    array = np.empty(len(leaves), object)
    array[:] = decode_b64(leaves, word)
    return array


def _from_b64(leaf: Any, word: str) -> bytes:
    if type(leaf) is not dict:
        raise _wrong_type(leaf, word)
    if not is_b64(leaf):
        raise InvalidInput(
            f"JSON Value: {shorten(leaf)} not formatted correctly for base64 data.", 'Bytes are {"b64": "…"}, alone.'
        )
    text = leaf["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise InvalidInput("Unable to base64 decode.", "Use the standard alphabet, not the web-safe one.") from None


_KINDS = {list: "Array", dict: "Object", str: "String", int: "Number", float: "Number", type(None): "Null"}


def _wrong_type(leaf: Any, word: str) -> InvalidInput:
    if type(leaf) is list:
        return InvalidInput("Encountered list at unexpected level: all values must be nested equally deep.")
    kind = str(leaf) if type(leaf) is bool else _KINDS[type(leaf)]
    return InvalidInput(f"JSON Value: {shorten(leaf)} Type: {kind} is not of expected type: {word}")

"""Base class of the Steps, and functions that convert rows and describe them in error messages."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from bookserve.errors import InvalidInput

#: Below this number a float64 holds every integer exactly.
_EXACT_FLOATS = 2**53

#: A batch: an array whose first axis counts rows, or a sequence of rows that may differ in shape.
Rows = Sequence[Any] | np.ndarray


#: Other tags that files may use for a Step → the tag that bookserve writes, the same since version 0.1.0.
TAG_ALIASES = {"addimagenetmeans": "withoutmeans", "binarylabel": "eitherlabel", "multilabel": "eachlabel"}


class StepBase(msgspec.Struct, frozen=True, tag_field="step", tag=str.lower, forbid_unknown_fields=True):
    """Base of all Steps; calling one with a batch returns the transformed batch."""

    #: A server applies the Step in a thread if the rows are files of more bytes, so that other requests do not wait.
    inline_bytes: ClassVar[int] = 65_536


def resolve_tag_aliases(value: Any) -> Any:
    """Replace aliases of Step tags in decoded JSON or TOML, in place, and return it."""
    if isinstance(value, dict):
        tag = value.get("step")
        if isinstance(tag, str):
            value["step"] = TAG_ALIASES.get(tag, tag)
        for item in value.values():
            resolve_tag_aliases(item)
    elif isinstance(value, list):
        for item in value:
            resolve_tag_aliases(item)
    return value


def exact_array(rows: Rows, dtype: np.dtype) -> np.ndarray:
    """Rows of numbers as an array for ``cast_exactly``. It holds objects where NumPy's choice would round integers.

    Beside a float, NumPy makes a float of every integer, and beside a negative number of those of 64 bits.
    """
    array = np.asarray(rows)
    if isinstance(rows, np.ndarray) or dtype.kind not in "iu" or array.dtype.kind != "f":
        return array
    with np.errstate(invalid="ignore"):
        is_small = bool((np.abs(array) < _EXACT_FLOATS).all())
    return array if is_small else np.asarray(rows, object)


def cast_exactly(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert ``array`` to ``dtype``.

    Raises:
        InvalidInput: ``dtype`` is an integer type or bool and cannot hold some number exactly, or is a float type in
            which a finite number would be infinite.
    """
    if array.dtype == object:
        return _cast_objects(array, dtype)
    if dtype.kind in "biu":
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if not np.array_equal(cast, array):
            raise InvalidInput(f"some numbers do not fit into {dtype}.", "Send whole numbers in its range.")
        return cast
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if cast is not array and np.isinf(cast).sum() != np.isinf(array).sum():
        raise InvalidInput(f"some numbers are too large for {dtype}.", f"The largest is {np.finfo(dtype).max:.3g}.")
    return cast


def holds_numbers(array: np.ndarray) -> bool:
    """Whether the elements are numbers or booleans; Python's own numbers, too, which NumPy keeps as objects."""
    return array.dtype.kind in "biuf" or (
        array.dtype == object and all(isinstance(item, int | float) for item in array.ravel())
    )


def _cast_objects(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``cast_exactly`` for an array of Python's own numbers."""
    numbers = array.ravel().tolist()
    try:
        if dtype.kind == "f":
            return cast_exactly(np.array([float(number) for number in numbers]).reshape(array.shape), dtype)
        whole = [int(number) for number in numbers]
        if all(map(operator.eq, whole, numbers)) and (dtype.kind != "b" or {*whole} <= {0, 1}):
            return np.array(whole, dtype).reshape(array.shape)
    except (ValueError, OverflowError):  # infinite, or too large
        pass
    raise InvalidInput(f"some numbers do not fit into {dtype}.", "Send whole numbers in its range.")


def decode_text(row: Any) -> str:
    """The text of one row, which must be a string or UTF-8 bytes.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(row, bytes):
        try:
            return row.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("a row is not UTF-8 text.", "Save the file as UTF-8.") from error
    if not isinstance(row, str):
        raise InvalidInput(f"a row is {describe_rows([row])}; expected a text.")
    return row


def describe_rows(rows: Rows) -> str:
    """What the first row is, in words for an error message."""
    row = rows[0]
    if isinstance(row, np.ndarray):
        return f"{row.dtype} arrays of shape {list(row.shape)}"
    names = {str: "text", bytes: "file contents", dict: "objects", list: "lists", type(None): "nothing"}
    return names.get(type(row), type(row).__name__)

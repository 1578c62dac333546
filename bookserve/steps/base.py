"""Step: what all Steps share – a batch of rows in, a batch of rows out – and the words for rows that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bookserve.errors import InvalidInput

#: A batch: an array whose first axis counts rows, or a sequence of rows that are not (yet) of one shape.
Rows = Sequence[Any] | np.ndarray


class StepBase(msgspec.Struct, frozen=True, tag_field="step", tag=str.lower, forbid_unknown_fields=True):
    """Base of all Steps; calling one with a batch returns the transformed batch."""


def cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``array`` as ``dtype``, refusing what would change a whole number's value."""
    if dtype.kind in "biu":
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if not np.array_equal(cast, array):
            raise InvalidInput(f"some numbers cannot be held as {dtype}.", "Send whole numbers within its range.")
        return cast
    return array.astype(dtype, copy=False)


def text_of(row: Any) -> str:
    """One row that must be a text, or the bytes of one."""
    if isinstance(row, bytes):
        try:
            return row.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("a row is not UTF-8 text.", "Save the file as UTF-8.") from error
    if not isinstance(row, str):
        raise InvalidInput(f"a row is {kind_of([row])}; expected a text.")
    return row


def kind_of(rows: Rows) -> str:
    """What the first row is, in a word that a user understands."""
    row = rows[0]
    if isinstance(row, np.ndarray):
        return f"{row.dtype} arrays of shape {list(row.shape)}"
    names = {str: "text", bytes: "file contents", dict: "objects", list: "lists", type(None): "nothing"}
    return names.get(type(row), type(row).__name__)

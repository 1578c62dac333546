"""Base class of the Steps, and functions that convert rows and describe them in error messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from bookserve.errors import InvalidInput

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


def cast_exactly(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert ``array`` to ``dtype``.

    Raises:
        InvalidInput: ``dtype`` is an integer type or bool and cannot hold some number exactly.
    """
    if dtype.kind in "biu":
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if not np.array_equal(cast, array):
            raise InvalidInput(f"some numbers do not fit into {dtype}.", "Send whole numbers in its range.")
        return cast
    return array.astype(dtype, copy=False)


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

"""Steps for numbers: check, scale, standardise and reshape."""

from __future__ import annotations

from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype
from bookserve.steps.base import Rows, StepBase, cast_exactly, decode_text, describe_rows, exact_array, holds_numbers


class Numbers(StepBase, frozen=True, omit_defaults=True):
    """Rows of numbers or strings with the given shape (-1: any size) → array [rows, *shape].

    With ``columns`` a row may also be an object with the numbers of each column by name.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    #: The names of the entries along the last axis, if they have names.
    columns: tuple[str, ...] = ()

    def __call__(self, rows: Rows) -> np.ndarray:
        expected = f"{self.dtype}{list(self.shape)} in each row"
        try:
            if self.columns and not isinstance(rows, np.ndarray):
                rows = [self._join_columns(row) if isinstance(row, dict) else row for row in rows]
            if self.dtype == "string":
                array = np.array([[_as_bytes(item) for item in np.ravel(row)] for row in rows], object)
            else:
                array = exact_array(rows, np.dtype(self.dtype))
        except ValueError as error:
            raise InvalidInput(f"the rows differ in shape; expected {expected}.") from error
        if self.dtype != "string":
            if not holds_numbers(array):
                raise InvalidInput(f"the rows hold {describe_rows(rows)}; expected {expected}.")
            array = cast_exactly(array, np.dtype(self.dtype))
        wanted = list(self.shape)
        if wanted.count(-1) == 0 and array.size == len(rows) * int(np.prod(wanted)):
            array = array.reshape(len(rows), *wanted)  # flat rows, such as lines of a CSV file, are accepted
        if len(array.shape) != len(wanted) + 1 or any(
            w not in (-1, size) for w, size in zip(wanted, array.shape[1:], strict=True)
        ):
            raise InvalidInput(f"each row has shape {list(array.shape[1:])}; expected {expected}.")
        return array.astype(numpy_dtype(self.dtype), copy=False)

    def _join_columns(self, row: dict[str, Any]) -> np.ndarray:
        """The row whose numbers are given by column; other columns are left out."""
        missing = [name for name in self.columns if name not in row]
        if missing:
            raise InvalidInput(
                f"the row has no {', '.join(map(repr, missing))}; expected an object with the columns "
                f"{', '.join(map(repr, self.columns))}."
            )
        return np.stack([np.asarray(row[name]) for name in self.columns], axis=-1)


class Scale(StepBase, frozen=True):
    """Array → float32 array times ``factor`` plus ``offset``."""

    factor: float
    offset: float = 0.0

    def __call__(self, rows: Rows) -> np.ndarray:
        scaled = np.asarray(rows, np.float32) * np.float32(self.factor)
        return scaled + np.float32(self.offset)


class Standardise(StepBase, frozen=True):
    """Array → float32 array minus ``mean``, divided by ``deviation``; both are broadcast over the last axes of a row.

    Both are computed from training rows only (section 3.6.2).
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, rows: Rows) -> np.ndarray:
        centred = np.asarray(rows, np.float64) - np.array(self.mean)
        return np.asarray(centred / np.array(self.deviation), np.float32)


class Reshape(StepBase, frozen=True):
    """Array [rows, …] → the same numbers with shape [rows, *shape]."""

    shape: tuple[int, ...]

    def __call__(self, rows: Rows) -> np.ndarray:
        array = np.asarray(rows)
        return array.reshape(len(array), *self.shape)


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    return decode_text(item).encode()

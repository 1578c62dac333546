"""Steps for numbers: check, scale, standardise and reshape."""

from __future__ import annotations

from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype
from bookserve.steps.base import Rows, StepBase, cast_exactly, decode_text, describe_rows


class Numbers(StepBase, frozen=True):
    """Rows of numbers or strings with the given shape (-1: any size; None: any shape) → array [rows, *shape]."""

    dtype: str
    shape: tuple[int, ...] | None = ()

    def __call__(self, rows: Rows) -> np.ndarray:
        expected = f"{self.dtype}{[] if self.shape is None else list(self.shape)} in each row"
        try:
            if self.dtype == "string":
                array = np.array([[_as_bytes(item) for item in np.ravel(row)] for row in rows], object)
                if self.shape is None:
                    array = array.reshape(len(rows), *np.shape(rows[0]))
            else:
                array = np.asarray(rows)
        except ValueError as error:
            raise InvalidInput(f"the rows differ in shape; expected {expected}.") from error
        if self.dtype != "string":
            if array.dtype.kind not in "biuf":
                raise InvalidInput(f"the rows hold {describe_rows(rows)}; expected {expected}.")
            array = cast_exactly(array, np.dtype(self.dtype))
        if self.shape is None:
            return array.astype(numpy_dtype(self.dtype), copy=False)
        wanted = list(self.shape)
        if wanted.count(-1) == 0 and array.size == len(rows) * int(np.prod(wanted)):
            array = array.reshape(len(rows), *wanted)  # flat rows, such as lines of a CSV file, are accepted
        if len(array.shape) != len(wanted) + 1 or any(
            w not in (-1, size) for w, size in zip(wanted, array.shape[1:], strict=True)
        ):
            raise InvalidInput(f"each row has shape {list(array.shape[1:])}; expected {expected}.")
        return array.astype(numpy_dtype(self.dtype), copy=False)


class Shared(StepBase, frozen=True):
    """Rows that all hold the same number or string → this one, as an array without axes.

    It is for an input that is a scalar, such as a factor for all rows of a batch.
    """

    dtype: str

    def __call__(self, rows: Rows) -> np.ndarray:
        values = Numbers(self.dtype)(rows)
        if (values != values[0]).any():
            raise InvalidInput(
                "the rows differ in a value that the model takes only once for all rows.",
                "Send rows with different values in requests of their own.",
            )
        return np.asarray(values[0], values.dtype)


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

"""Steps for numbers: check, scale, standardise and reshape."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype
from bookserve.steps.base import Rows, StepBase, cast_exactly, decode_text, describe_rows, exact_array, holds_numbers
from bookserve.table import ROW_NAMES, Table


class Numbers(StepBase, frozen=True):
    """Rows of numbers or strings with the given shape (-1: any size; None: any shape) → array [rows, *shape].

    A row may also be an object with the numbers of each column by name, as a line of a table: matched by ``columns``,
    or taken in the order in which the names come if the model has no names.
    """

    dtype: str
    shape: tuple[int, ...] | None = ()
    #: The names of the entries along the last axis; bundles whose entries have no names do not write it.
    columns: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    #: The unit or meaning of each of ``columns``, in a few words.
    units: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    def __call__(self, rows: Rows) -> np.ndarray:
        expected = f"{self.dtype}{[] if self.shape is None else list(self.shape)} in each row"
        try:
            if not isinstance(rows, np.ndarray) and any(isinstance(row, dict) for row in rows):
                rows = self._from_records(rows)
            if self.dtype == "string":
                array = np.array([[_as_bytes(item) for item in np.ravel(row)] for row in rows], object)
                if self.shape is None:
                    array = array.reshape(len(rows), *np.shape(rows[0]))
            else:
                array = exact_array(rows, np.dtype(self.dtype))
        except ValueError as error:
            raise InvalidInput(f"the rows differ in shape; expected {expected}.") from error
        if self.dtype != "string":
            if not holds_numbers(array):
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

    def _from_records(self, rows: Rows) -> list[Any]:
        """The rows, of which those that are objects have become lists or arrays with the columns in one order."""
        first = next(row for row in rows if isinstance(row, dict))
        names = self.columns or tuple(name for name in first if name not in ROW_NAMES)
        return [self._join_columns(row, names) if isinstance(row, dict) else row for row in rows]

    def join_table(self, table: Table) -> np.ndarray:
        """The columns of a table in the order of ``_from_records``, as one array [rows, …, columns].

        Raises:
            InvalidInput: a column is missing, unknown, or holds texts for a model of numbers.
        """
        self._from_records([table[0]])
        names = self.columns or tuple(name for name in table.columns if name not in ROW_NAMES)
        texts = [name for name in names if self.dtype != "string" and table.columns[name].dtype == object]
        if texts:
            raise InvalidInput(f"the column '{texts[0]}' holds texts; expected numbers.")
        return np.stack([table.columns[name] for name in names], axis=-1)

    def _join_columns(self, row: dict[str, Any], names: tuple[str, ...]) -> list[Any] | np.ndarray:
        """The row whose numbers are given by column. With names of the model, other columns are left out."""
        missing = [name for name in names if name not in row]
        unknown = [] if self.columns else [name for name in row if name not in names and name not in ROW_NAMES]
        if missing or unknown:
            wrong = f"no {', '.join(map(repr, missing))}" if missing else f"also {', '.join(map(repr, unknown))}"
            raise InvalidInput(
                f"the row has {wrong}; expected an object with the columns {', '.join(map(repr, names))}."
            )
        texts = [name for name in names if self.dtype != "string" and isinstance(row[name], str)]
        if texts:
            raise InvalidInput(
                f"the column '{texts[0]}' holds the text '{row[texts[0]][:40]}'; expected a number.",
                f"The model takes {self.dtype}.",
            )
        values = [row[name] for name in names]
        if self.dtype == "string" or not any(isinstance(value, list | np.ndarray) for value in values):
            return values
        return np.stack([np.asarray(value) for value in values], axis=-1)


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


class Unit(StepBase, frozen=True):
    """Numbers → the same numbers. It says in which unit they are, such as "thousand dollars"."""

    unit: str

    def __call__(self, rows: Rows) -> Rows:
        return rows


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

"""Rows kept by columns: what a table of millions of rows is read, sent and predicted as, without an object per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

from bookserve.errors import InvalidInput

#: The name of the only column of a table whose columns have no names.
UNNAMED = ""
#: Names that R and pandas give to rows in lists of records.
ROW_NAMES = ("_row", "")


class Table(Sequence[Any]):
    """A sequence of rows that are kept by columns; a part of a table is a table again.

    A column is an array whose first axis counts rows; object arrays hold ``str`` or ``bytes``. A row is a dictionary by
    the names of the columns. A table whose only column is ``UNNAMED`` has the entries of that column as its rows.
    """

    __slots__ = ("_count", "columns")

    def __init__(self, columns: Mapping[str, np.ndarray]) -> None:
        """``columns`` has at least one.

        Raises:
            InvalidInput: they differ in length.
        """
        self.columns = dict(columns)
        counts = {len(column) if column.ndim else -1 for column in self.columns.values()}
        if len(counts) != 1 or counts == {-1}:
            lengths = ", ".join(f"'{name}' {list(column.shape)}" for name, column in self.columns.items())
            raise InvalidInput(f"the columns of a table differ in length: {lengths}.")
        (self._count,) = counts

    @property
    def named(self) -> bool:
        """Whether the columns have names."""
        return self.columns.keys() != {UNNAMED}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Table: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Table({name: column[index] for name, column in self.columns.items()})
        if not self.named:
            return _cell(self.columns[UNNAMED], index)
        return {name: _cell(column, index) for name, column in self.columns.items()}

    @property
    def nbytes(self) -> int:
        """About how many bytes the rows have."""
        return sum(
            column.nbytes if column.dtype != object else sum(map(len, column.ravel()))
            for column in self.columns.values()
        )


def _cell(column: np.ndarray, index: int) -> Any:
    """One entry: a number, a text, bytes or an array."""
    cell = column[index]
    return cell.item() if isinstance(cell, np.generic) else cell

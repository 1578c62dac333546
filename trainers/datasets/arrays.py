"""Hold the arrays that a model is trained on: inputs and targets, some of them encoded only batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bookserve.steps import Rows, Step, apply_steps

#: Changes raw rows at random, for example rotates pictures; all randomness comes from the generator.
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def object_array(rows: Rows) -> np.ndarray:
    """Rows of different lengths (texts, lists of ids) as an object array [n], which index arrays can select from."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


@dataclass(frozen=True)
class LazilyEncoded:
    """Raw rows [n, …] (an array or a view) that pass ``steps`` batch by batch, since all at once would not fit.

    ``augment`` is applied to the raw rows of training batches before the Steps, and never for evaluation.
    """

    rows: np.ndarray
    steps: Sequence[Step]
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """The encoded rows at ``index``, as the network takes them. ``rng`` None: no augmentation (evaluation)."""
        raw = self.rows[index]
        if self.augment and rng:
            raw = self.augment(raw, rng)
        return np.asarray(apply_steps(self.steps, raw))


@dataclass(frozen=True)
class Windows:
    """Windows of a long table, which are copied out of it batch by batch: together they would not fit into memory.

    It can be indexed like an array [windows, rows, columns]. The Steps have been applied to the table already, which
    is the same and much faster where they treat each number by itself.
    """

    #: float32 [rows, columns].
    table: np.ndarray
    #: The row of the table at which each window starts, int64 [windows]; and the rows it takes, counted from there.
    starts: np.ndarray
    offsets: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Windows, rows of each, and columns."""
        return len(self.starts), len(self.offsets), self.table.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """The type of the numbers."""
        return self.table.dtype

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The windows at ``index`` [n], as an array [n, rows, columns]."""
        taken: np.ndarray = self.table.take(self.starts[index][..., None] + self.offsets, axis=0)
        return taken

    def take(self, index: np.ndarray) -> Windows:
        """Only the windows at ``index``; nothing is copied out of the table."""
        return Windows(self.table, self.starts[index], self.offsets)


Column = np.ndarray | LazilyEncoded | Windows
#: One column, or several by the names of the model's inputs or outputs.
Columns = Column | dict[str, Column]
Batch = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class TrainingArrays:
    """Inputs ``x`` and targets ``y`` with the same number of rows."""

    x: Columns
    y: Columns

    def __len__(self) -> int:
        first = next(iter(self.y.values())) if isinstance(self.y, dict) else self.y
        return len(first)

    @property
    def lazy(self) -> bool:
        """Whether a column is encoded batch by batch."""
        sides = (side.values() if isinstance(side, dict) else (side,) for side in (self.x, self.y))
        return any(isinstance(column, LazilyEncoded) for side in sides for column in side)

    def batch(self, index: np.ndarray, rng: np.random.Generator | None = None) -> tuple[Batch, Batch]:
        """Inputs and targets of the rows at ``index``."""
        return _batch_columns(self.x, index, rng), _batch_columns(self.y, index, rng)

    def take(self, index: np.ndarray) -> TrainingArrays:
        """New arrays with only the rows at ``index``; lazily encoded columns and windows stay lazy."""
        return TrainingArrays(_take_columns(self.x, index), _take_columns(self.y, index))


def _batch_columns(columns: Columns, index: np.ndarray, rng: np.random.Generator | None) -> Batch:
    if isinstance(columns, dict):
        return {name: _batch_column(column, index, rng) for name, column in columns.items()}
    return _batch_column(columns, index, rng)


def _batch_column(column: Column, index: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    return column.batch(index, rng) if isinstance(column, LazilyEncoded) else column[index]


def _take_columns(columns: Columns, index: np.ndarray) -> Columns:
    if isinstance(columns, dict):
        return {name: _take_column(column, index) for name, column in columns.items()}
    return _take_column(columns, index)


def _take_column(column: Column, index: np.ndarray) -> Column:
    if isinstance(column, LazilyEncoded):
        return LazilyEncoded(column.rows[index], column.steps, column.augment)
    if isinstance(column, Windows):
        return column.take(index)
    taken: np.ndarray = column[index]
    return taken

"""Compute a fingerprint of training data, by which two runs can be seen to have used the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from trainers.datasets.arrays import Column, LazilyEncoded, TrainingArrays

#: Rows of each column that are read: enough to notice other data, and quick for data that do not fit into memory.
ROWS = 1000


def fingerprint(parts: dict[str, TrainingArrays | None]) -> str:
    """A SHA-256 over the shapes, the dtypes and up to ``ROWS`` evenly spaced rows of every column.

    ``parts`` are the training, validation and test rows by name. Rows that are encoded batch by batch count as they
    are before their Steps.
    """
    digest = hashlib.sha256()
    for part, arrays in parts.items():
        if arrays is None:
            continue
        for name, column in _columns(arrays):
            rows = column.rows if isinstance(column, LazilyEncoded) else column
            digest.update(f"{part} {name} {rows.dtype} {rows.shape}\n".encode())
            for index in np.unique(np.linspace(0, max(len(rows) - 1, 0), ROWS, dtype=np.int64)) if len(rows) else ():
                row = rows[index]
                digest.update(repr(row).encode() if rows.dtype == object else np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()


def _columns(arrays: TrainingArrays) -> Iterator[tuple[str, Column]]:
    for kind, columns in (("x", arrays.x), ("y", arrays.y)):
        if isinstance(columns, dict):
            yield from ((f"{kind} {name}", column) for name, column in sorted(columns.items()))
        else:
            yield kind, columns

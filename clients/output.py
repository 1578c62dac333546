"""Show answers as cells of a table, and write files; ``answer_files.py`` writes answers of any number."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bookserve.errors import Failed
from bookserve.steps import Label


def answer_cell(value: list[Label] | np.ndarray) -> str:
    """One output of one row as a short text for a table."""
    if isinstance(value, list):
        return ", ".join(f"{item.label} ({item.score:.3f})" for item in value)
    text = np.array2string(value, precision=4, separator=", ", threshold=12, edgeitems=3, max_line_width=10_000)
    return text.replace("\n", "")


def with_unit(name: str, units: Mapping[str, str]) -> str:
    """The name of an output as the head of a column, with its unit if it has one: ``price (thousand dollars)``."""
    return f"{name} ({units[name]})" if name in units else name


def write_file(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        Failed: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from error


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the bytes of an NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

"""Read Parquet and Arrow files as tables, a part at a time; the package pyarrow is imported at the first one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.table import Table

#: Suffixes of the files that ``read_tables`` reads.
SUFFIXES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
#: Columns in which pandas keeps the names of rows.
_ROW_NAMES = "__index_level_"


def import_pyarrow() -> Any:
    """The package pyarrow.

    Raises:
        NotFound: it is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise NotFound(
            "Parquet and Arrow files need the package 'pyarrow'.", "Install it: pip install 'bookserve[tables]'"
        ) from error
    return pyarrow


def read_tables(
    stream: BinaryIO, suffix: str, name: str, rows: int, skip: Callable[[int, BookserveError], None] | None = None
) -> Iterator[tuple[Table, int]]:
    """Tables of up to ``rows`` rows, each with about how many bytes of the file it took.

    With ``skip`` rows without a value are left out, and it is called with their number and the error.

    Raises:
        NotFound: pyarrow is not installed.
        InvalidInput: the file has another format, or a row has no value in a column.
    """
    pyarrow = import_pyarrow()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    start = 0
    try:
        batches, total = _batches(stream, suffix, rows)
        for batch in batches:
            for offset in range(0, batch.num_rows, rows):
                part = batch.slice(offset, rows)
                table = arrow_table(part, name, start, skip)
                start += part.num_rows
                if len(table):
                    yield table, size * part.num_rows // max(total, start)
    except pyarrow.ArrowException as error:
        raise InvalidInput(f"{name} is not a whole file of the format {suffix}: {error}.") from error


def _batches(stream: BinaryIO, suffix: str, rows: int) -> tuple[Iterator[Any], int]:
    """The record batches of a file, and how many rows it has (0 if that is not known)."""
    import pyarrow.ipc
    import pyarrow.parquet

    if suffix in (".parquet", ".pq"):
        file = pyarrow.parquet.ParquetFile(stream, pre_buffer=False)
        return file.iter_batches(rows), file.metadata.num_rows
    if stream.read(6) == b"ARROW1":
        stream.seek(0)
        reader = pyarrow.ipc.open_file(stream)
        return (reader.get_batch(index) for index in range(reader.num_record_batches)), 0
    stream.seek(0)
    return iter(pyarrow.ipc.open_stream(stream)), 0


def arrow_table(
    batch: Any, name: str, start: int = 0, skip: Callable[[int, BookserveError], None] | None = None
) -> Table:
    """A record batch as a table. Lists become arrays, dates become texts.

    Raises:
        InvalidInput: a row (the first has the number ``start``) has no value in a column, or lists differ in length.
    """
    import pyarrow.compute

    names = [column for column in batch.schema.names if not column.startswith(_ROW_NAMES)]
    complete = np.ones(batch.num_rows, bool)
    for column in names:
        missing = np.asarray(pyarrow.compute.is_null(batch.column(column)).to_numpy(zero_copy_only=False))
        for row in np.flatnonzero(missing & complete).tolist():
            error = InvalidInput(
                f"{name}, row {start + row}: column '{column}' is missing a value.",
                "A row needs a value in every column; leave the row out or fill it in.",
            )
            if skip is None:
                raise error
            skip(start + row, error)
        complete &= ~missing
    if not complete.all():
        batch = batch.filter(pyarrow.array(complete))
    return Table({column: _column(batch.column(column), f"{name}: column '{column}'") for column in names})


def _column(array: Any, name: str) -> np.ndarray:
    """The values of a column without nulls."""
    import pyarrow

    types = pyarrow.types
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    if types.is_decimal(kind):
        return np.asarray(array.cast(pyarrow.float64()).to_numpy())
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        values = _column(array.flatten(), name)
        if len(array) and (len(values) % len(array) or len({len(item) for item in array}) > 1):
            raise InvalidInput(f"{name} has lists of different lengths.", "Give all rows the same number.")
        return values.reshape(len(array), -1, *values.shape[1:])
    if not (
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    ):
        array = array.cast(pyarrow.string())
    found = np.empty(len(array), object)
    found[:] = array.to_pylist()
    return found

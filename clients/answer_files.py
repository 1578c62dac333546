"""Write the answers to rows of any number to files, part by part, in the format of the file's suffix.

A file appears whole or not at all: it is written beside its place and renamed. NPY and NPZ need the shape of all
answers first, so their arrays are kept in memory; all other formats need no more memory for more rows.

============================  ======================================================================================
JSON, JSONL                   the answers as ``--json`` prints them
CSV                           for each output its numbers, or the best label and its score, after the name of the row
Parquet, Arrow                the same columns with types; ``input`` is the file and ``row`` the number of the row in it
NPY, NPZ                      arrays; for labels the scores of all classes (``Answers.probabilities``)
============================  ======================================================================================

With the input's own columns (``--with-inputs``), these stand in front of the answers instead of the name of the row.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from bookserve.client.answers import Answers, AnswerTable, flat_answer
from bookserve.client.arrow_files import import_pyarrow
from bookserve.client.parts import Part
from bookserve.errors import Failed, InvalidInput
from bookserve.table import UNNAMED, Table
from bookserve.verb import plain_answers
from clients.output import with_unit

Found = Answers | AnswerTable


class Writer(Protocol):
    """Writes one file."""

    def write(self, part: Part, answers: Found) -> None:
        """Add the answers to some rows.

        Raises:
            InvalidInput: the format cannot hold these answers.
        """

    def close(self) -> None:
        """Write the end of the file."""


def plain(answers: Found) -> list[Any]:
    """The answers ready for JSON."""
    return answers.plain() if isinstance(answers, AnswerTable) else plain_answers(answers)


def json_lines(part: Part, answers: Found, with_inputs: bool = False, only_ascii: bool = False) -> str:
    """A line of JSON for each answer; with ``only_ascii`` other characters are written as JSON's escapes."""
    lines = plain(answers)
    if with_inputs:
        inputs = _input_columns(part, list(lines[0]))
        rows = zip(*map(_plain_column, inputs.values()), strict=True)
        lines = [dict(zip(inputs, row, strict=True)) | line for row, line in zip(rows, lines, strict=True)]
    return "".join(json.dumps(line, ensure_ascii=only_ascii) + "\n" for line in lines)


@contextmanager
def open_writer(path: Path, with_inputs: bool = False) -> Iterator[Writer]:
    """A writer to a new file with one of the ``SUFFIXES``; without an error in the block it replaces ``path``.

    Raises:
        Failed: the file cannot be written.
        NotFound: a package for its format is not installed.
    """
    kind = SUFFIXES[path.suffix.lower()]
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            writer = kind(stream, with_inputs, path.suffix.lower())
            try:
                yield writer
            except BaseException:
                with suppress(Exception):  # the file is removed; pyarrow wants its end all the same
                    writer.close()
                raise
            writer.close()
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Json:
    """One list, with every answer on lines of its own."""

    def __init__(self, stream: BinaryIO, with_inputs: bool, suffix: str) -> None:
        self._stream, self._with_inputs, self._before = stream, with_inputs, "[\n"

    def write(self, part: Part, answers: Found) -> None:
        for line in json_lines(part, answers, self._with_inputs).splitlines():
            text = json.dumps(json.loads(line), indent=1, ensure_ascii=False).replace("\n", "\n ")
            self._stream.write(f"{self._before} {text}".encode())
            self._before = ",\n"

    def close(self) -> None:
        self._stream.write(b"\n]\n" if self._before == ",\n" else b"[]\n")


class _JsonLines:
    def __init__(self, stream: BinaryIO, with_inputs: bool, suffix: str) -> None:
        self._stream, self._with_inputs = stream, with_inputs

    def write(self, part: Part, answers: Found) -> None:
        self._stream.write(json_lines(part, answers, self._with_inputs).encode())

    def close(self) -> None:
        pass


class _Csv:
    def __init__(self, stream: BinaryIO, with_inputs: bool, suffix: str) -> None:
        self._stream, self._with_inputs = stream, with_inputs
        self._header: list[str] = []

    def write(self, part: Part, answers: Found) -> None:
        found = _flat_columns(answers)
        if self._with_inputs:
            before = _input_columns(part, list(found))
        else:
            before = {"input": [part.name(index) for index in range(len(answers))]}
        columns = before | {with_unit(name, answers.units): column for name, column in found.items()}
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if not self._header:
            self._header = list(columns)
            writer.writerow(self._header)
        if more := [name for name in columns if name not in self._header]:
            raise InvalidInput(f"these answers have the column '{more[0]}', those before have not.", "Use .jsonl")
        nothing = [None] * len(answers)
        chosen = [_plain_column(columns.get(name, nothing)) for name in self._header]
        writer.writerows(zip(*chosen, strict=True))
        self._stream.write(buffer.getvalue().encode())

    def close(self) -> None:
        pass


class _Arrow:
    """Parquet, or Arrow's own format."""

    def __init__(self, stream: BinaryIO, with_inputs: bool, suffix: str) -> None:
        import_pyarrow()
        self._stream, self._with_inputs, self._suffix = stream, with_inputs, suffix
        self._writer: Any = None

    def write(self, part: Part, answers: Found) -> None:
        import pyarrow

        found: dict[str, Any] = dict(AnswerTable.of(answers).columns())
        columns = (_input_columns(part, list(found)) if self._with_inputs else _places(part)) | found
        table = pyarrow.table({name: pyarrow.array(column) for name, column in columns.items()})
        if self._writer is None:
            self._writer = self._open(table.schema)
        try:
            self._writer.write_table(table.cast(self._writer.schema))
        except (ValueError, pyarrow.ArrowException) as error:
            raise InvalidInput("these answers have other columns than those before.", "Use .jsonl") from error

    def _open(self, schema: Any) -> Any:
        if self._suffix in (".parquet", ".pq"):
            import pyarrow.parquet

            return pyarrow.parquet.ParquetWriter(self._stream, schema, compression="zstd")
        import pyarrow.ipc

        writer = pyarrow.ipc.new_file(self._stream, schema)
        writer.schema = schema
        return writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Numpy:
    """The arrays of all outputs; an NPY file has the only one, or the probabilities of the only output with labels.

    NPZ: for labels, ``<output>`` holds the names and ``<output>_scores`` the scores, likeliest first;
    ``<output>_probabilities`` holds the scores in the order of ``<output>_classes``.
    """

    def __init__(self, stream: BinaryIO, with_inputs: bool, suffix: str) -> None:
        if with_inputs:
            raise InvalidInput(f"{suffix} files hold no columns of the input.", "Use .csv, .jsonl or .parquet")
        self._stream, self._suffix = stream, suffix
        self._parts: list[AnswerTable] = []

    def write(self, part: Part, answers: Found) -> None:
        found = AnswerTable.of(answers)
        if self._suffix == ".npy" and len(found.outputs) > 1:
            names = ", ".join(found.outputs)
            raise InvalidInput(f"an NPY file holds one array; these answers have {names}.", "Use .npz")
        self._parts.append(found)

    def close(self) -> None:
        if not self._parts:
            return
        found = AnswerTable.joined(self._parts)
        labelled = [name for name, value in found.outputs.items() if isinstance(value, tuple)]
        if self._suffix == ".npy":
            array = found.probabilities()[1] if labelled else next(iter(found.arrays().values()))
            np.save(self._stream, array, allow_pickle=False)
            return
        arrays = found.arrays()
        for name in labelled:
            arrays[f"{name}_classes"], arrays[f"{name}_probabilities"] = map(np.asarray, found.probabilities(name))
        np.savez_compressed(self._stream, **arrays, allow_pickle=False)


#: Suffix of a file → what writes it.
SUFFIXES: Mapping[str, Callable[[BinaryIO, bool, str], Writer]] = {
    ".json": _Json,
    **dict.fromkeys((".jsonl", ".ndjson"), _JsonLines),
    ".csv": _Csv,
    **dict.fromkeys((".parquet", ".pq", ".arrow", ".feather"), _Arrow),
    **dict.fromkeys((".npy", ".npz"), _Numpy),
}


def _flat_columns(answers: Found) -> dict[str, Sequence[Any]]:
    """The answers as columns of a table; rows may differ in columns."""
    if isinstance(answers, AnswerTable):
        columns: dict[str, Any] = {**answers.columns()}
        return columns
    lines = [flat_answer(answer) for answer in answers]
    return {name: [line.get(name) for line in lines] for name in dict.fromkeys(name for line in lines for name in line)}


def _plain_column(column: Sequence[Any]) -> list[Any]:
    """A column as Python's own values, with the fewest digits that restore each float32."""
    if isinstance(column, np.ndarray):
        return column.astype("U32").astype(np.float64).tolist() if column.dtype == np.float32 else column.tolist()
    return list(column)


def _places(part: Part) -> dict[str, Any]:
    """The file of each row, and the number of the row in it."""
    import pyarrow

    files = [segment.file for segment in part.segments]
    counts = [segment.length for segment in part.segments]
    names = pyarrow.DictionaryArray.from_arrays(np.repeat(np.arange(len(files), dtype=np.int32), counts), files)
    rows = np.concatenate([np.arange(s.start, s.start + s.length, dtype=np.int64) for s in part.segments])
    return {"input": names.dictionary_decode() if len(files) > 1 else names, "row": rows}


def _input_columns(part: Part, answers: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The columns of the input; names that answers have, too, get ``input_`` in front.

    Raises:
        InvalidInput: the rows are no lines of a table.
    """
    rows = part.rows
    if isinstance(rows, Table) and rows.named:
        columns: dict[str, Any] = dict(rows.columns)
    elif isinstance(rows, Table):
        column = rows.columns[UNNAMED]
        columns = {f"column_{place}": column[:, place] for place in range(column.shape[1])} if column.ndim == 2 else {}
        columns = {"text": column} if column.dtype == object and column.ndim == 1 else columns
    elif all(isinstance(row, dict) for row in rows):
        columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)}
    else:
        columns = {"text": list(rows)} if all(isinstance(row, str) for row in rows) else {}
    flat = all(np.ndim(value[0]) == 0 and not isinstance(value[0], dict | bytes) for value in columns.values())
    if not columns or not flat:
        raise InvalidInput(
            f"{part.name(0)}: only the columns of tables and texts can be written beside the answers.",
            "Leave out --with-inputs; the answers have the order of the rows.",
        )
    return {f"input_{name}" if name in answers else name: column for name, column in columns.items()}

"""Read rows of any number in parts: tables by columns, JSON lines, NumPy arrays, Parquet, Arrow, pictures by the file.

A part is what one request holds. Only the part that is read is in memory, except for files of JSON, NPZ and text, which
are read as a whole. Parquet and Arrow files need the package pyarrow (``pip install 'bookserve[tables]'``); with it,
large CSV files are read faster, too.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bookserve.api.native_json import row_from_json
from bookserve.client import arrow_files
from bookserve.client.client import BATCH, BATCH_BYTES
from bookserve.client.files import KINDS, find_files, literal, parse_json, read_file, recognise, shorten
from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.formats.table_blocks import read_table_blocks
from bookserve.table import UNNAMED, Table

#: Rows of a table in one part, and about how many bytes.
TABLE_ROWS = 16_384

#: Called with the place of a row or file that cannot be used, and why.
OnError = Callable[[str, BookserveError], None]
_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
#: Standard input of more bytes than this is read in parts where its kind allows it.
_PEEK = 2**20
#: Suffixes that ``read_parts`` knows.
SUFFIXES = (*KINDS, *arrow_files.SUFFIXES)


class Segment(NamedTuple):
    """Rows of a part that follow each other in one file: ``length`` from the row ``start``."""

    file: str
    start: int
    length: int
    #: Whether the file has no other row.
    alone: bool = False
    #: The line of each row, where the file has lines.
    lines: Sequence[int] | None = None


@dataclass(frozen=True)
class Part:
    """Some rows, and where they are from."""

    rows: Sequence[Any]
    segments: tuple[Segment, ...]
    #: How many bytes of its files the rows took, to show progress.
    size: int = 0
    _ends: list[int] = field(default_factory=list)

    def name(self, index: int) -> str:
        """A short name for a row: its file and its number in it."""
        segment, place = self._find(index)
        return segment.file if segment.alone else f"{segment.file} [{segment.start + place}]"

    def place(self, index: int) -> str:
        """The same for errors: with the line, where there is one."""
        segment, place = self._find(index)
        return self.name(index) if segment.lines is None else f"{segment.file}, line {segment.lines[place]}"

    def cut(self, start: int, end: int) -> Part:
        """The rows from ``start`` to before ``end``."""
        segments, first = [], 0
        for segment in self.segments:
            low, high = max(start - first, 0), min(end - first, segment.length)
            if low < high:
                lines = None if segment.lines is None else segment.lines[low:high]
                segments.append(segment._replace(start=segment.start + low, length=high - low, lines=lines))
            first += segment.length
        return Part(self.rows[start:end], tuple(segments), self.size if start == 0 else 0)

    def _find(self, index: int) -> tuple[Segment, int]:
        if len(self.segments) == 1:
            return self.segments[0], index
        if not self._ends:
            self._ends.extend(accumulate(segment.length for segment in self.segments))
        which = bisect_right(self._ends, index)
        return self.segments[which], index - (self._ends[which] - self.segments[which].length)


def read_parts(path: Path, skip: OnError | None = None) -> Iterator[Part]:
    """The rows of a file or directory in parts. With ``skip`` what cannot be used is left out, and it is called.

    Raises:
        NotFound: there is no such file, or a package for its format is not installed.
        InvalidInput: a file does not have the format of its suffix, or a row of a table cannot be used.
    """
    yield from merge_parts(_file_parts(path, skip))


def merge_parts(parts: Iterable[Part]) -> Iterator[Part]:
    """The same rows, with rows that are no tables brought together, and cut, to parts of one request's size."""
    rows, segments, size, read = list[Any](), list[Segment](), 0, 0
    for part in parts:
        if isinstance(part.rows, Table):
            if rows:
                yield Part(rows, tuple(segments), read)
                rows, segments, size, read = [], [], 0, 0
            yield part
            continue
        read += part.size
        begin = 0
        for index, row in enumerate(part.rows):
            size += len(row) if isinstance(row, str | bytes) else 8 * np.size(row)
            if len(rows) + index + 1 - begin >= BATCH or size >= BATCH_BYTES:
                taken = part.cut(begin, index + 1)
                yield Part([*rows, *taken.rows], (*segments, *taken.segments), read)
                rows, segments, size, read, begin = [], [], 0, 0, index + 1
        taken = part.cut(begin, len(part.rows))
        rows += taken.rows
        segments += taken.segments
    if rows:
        yield Part(rows, tuple(segments), read)


def read_stream(stream: BinaryIO, name: str, skip: OnError | None = None) -> Iterator[Part]:
    """The rows of a stream, of which the content says the format; long tables and JSON lines are read in parts.

    Raises:
        InvalidInput: as ``bookserve.client.files.recognise``.
    """
    head = stream.read(_PEEK)
    if len(head) == _PEEK:
        joined: Any = io.BufferedReader(_Joined(head, stream))
        lines = head[: head.rfind(b"\n")].decode("utf-8-sig", "replace").splitlines()[:2]
        if len(lines) == 2 and all(isinstance(literal(line), dict | list) for line in lines):
            yield from merge_parts(_json_lines(joined, name, skip))
            return
        rows = recognise(head[: head.rfind(b"\n") + 1], name) if head[:1] not in b"\x93P\x89\xffA" else []
        if len(rows) > 1 and not isinstance(rows[0], str):
            yield from _table(joined, name, skip)
            return
        head += stream.read()
    if head.startswith((b"PAR1", b"ARROW1")):
        yield from _arrow(io.BytesIO(head), ".parquet" if head.startswith(b"PAR1") else ".arrow", name, skip)
        return
    yield from merge_parts([_part(recognise(head, "standard input"), name)])


class _Joined(io.RawIOBase):
    """What has been read of a stream, and the rest."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = io.BytesIO(head), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def _file_parts(path: Path, skip: OnError | None) -> Iterator[Part]:
    if path.is_dir():
        for file in find_files(path, SUFFIXES):
            name = shorten(file.relative_to(path).as_posix())
            try:
                yield from _one_file(file, name, skip)
            except (InvalidInput, NotFound) as error:
                if skip is None:
                    raise
                skip(name, error)
        return
    yield from _one_file(path, shorten(path.name), skip)


def _one_file(path: Path, name: str, skip: OnError | None) -> Iterator[Part]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield from _npy(path, name)
    elif suffix in (*_JSON_LINES, *_TABLES, *arrow_files.SUFFIXES):
        count = 0
        try:
            with path.open("rb") as stream:
                if suffix in _TABLES:
                    parts = _table(stream, name, skip, str(path))
                elif suffix in _JSON_LINES:
                    parts = _json_lines(stream, name, skip, str(path))
                else:
                    parts = _arrow(stream, suffix, name, skip, str(path))
                for part in parts:
                    count += len(part.rows)
                    yield part
        except FileNotFoundError as error:
            raise NotFound(f"there is no file '{path}'.") from error
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
        if not count and skip is None:
            raise InvalidInput(f"{path} holds no rows.")
    else:
        rows = read_file(path)
        yield _part(rows, name, path.stat().st_size)


def _part(rows: list[Any], name: str, size: int = 0) -> Part:
    return Part(rows, (Segment(name, 0, len(rows), len(rows) == 1),), size)


def _table(stream: BinaryIO, name: str, skip: OnError | None, path: str = "") -> Iterator[Part]:
    start, before = 0, None
    for rows, lines, read in read_table_blocks(stream, path or name, skip and _at_line(name, skip)):
        if before is not None:
            yield before
        before = Part(rows, (Segment(name, start, len(rows), lines=lines),), read)
        start += len(rows)
    if before is not None:
        alone = start == 1
        yield replace(before, segments=(before.segments[0]._replace(alone=alone),))


def _at_line(name: str, skip: OnError) -> Callable[[int, BookserveError], None]:
    return lambda line, error: skip(f"{name}, line {line}", error)


def _json_lines(stream: BinaryIO, name: str, skip: OnError | None, path: str = "") -> Iterator[Part]:
    rows, lines, start, read = list[Any](), list[int](), 0, 0
    for number, line in enumerate(stream, 1):
        read += len(line)
        if not line.strip():
            continue
        where = f"{path or name}, line {number}"
        try:
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{where} is not UTF-8 text.", "Save it as UTF-8.") from error
            rows.append(row_from_json(parse_json(text, where)))
        except InvalidInput as error:
            if skip is None:
                raise
            skip(where, error)
            continue
        lines.append(number)
        if len(rows) >= BATCH:
            yield Part(rows, (Segment(name, start, len(rows), lines=lines),), read)
            start, read, rows, lines = start + len(rows), 0, [], []
    if rows:
        yield Part(rows, (Segment(name, start, len(rows), start == 0 and len(rows) == 1, lines),), read)


def _npy(path: Path, name: str) -> Iterator[Part]:
    """The rows of one array, which stays on disk."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        fits = array.ndim and len(array) and array.dtype.kind in "biuf" and array.nbytes > BATCH_BYTES
    except (OSError, ValueError):  # read_file says what is wrong
        fits = False
    if not fits:
        yield _part(read_file(path), name, path.stat().st_size if path.is_file() else 0)
        return
    step = max(1, min(TABLE_ROWS, BATCH_BYTES * len(array) // array.nbytes))
    for start in range(0, len(array), step):
        rows = Table({UNNAMED: np.array(array[start : start + step])})
        yield Part(rows, (Segment(name, start, len(rows)),), rows.nbytes)


def _arrow(stream: BinaryIO, suffix: str, name: str, skip: OnError | None, path: str = "") -> Iterator[Part]:
    at_row = None if skip is None else lambda row, error: skip(f"{name} [{row}]", error)
    start = 0
    for rows, done in arrow_files.read_tables(stream, suffix, path or name, TABLE_ROWS, at_row):
        yield Part(rows, (Segment(name, start, len(rows)),), done)
        start += len(rows)

"""Read tables of comma-separated values of any length, a block of lines at a time, as ``tables.py`` reads short ones.

The first lines say the separator, the header and which columns hold texts. Long blocks of plain numbers and texts are
parsed by pyarrow where that is installed, which is much faster. All others, and those with an error, are parsed as
short tables are, so that both ways give the same rows and the same errors.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bookserve.errors import BookserveError, InvalidInput
from bookserve.formats.tables import (
    UTF16,
    find_separator,
    has_decimal_commas,
    parse_column,
    read_cells,
    split_header,
    with_points,
)
from bookserve.table import UNNAMED, Table

#: Bytes of one block.
BLOCK = 2**20
#: Lines that are looked at to find out what a table is like.
_SAMPLE = 1000
#: Whole numbers beyond this would lose digits as float64.
_EXACT = 2**53
#: Called with the line of a row that cannot be used, and why.
OnLine = Callable[[int, BookserveError], None]


class _Layout(NamedTuple):
    """What a table is like."""

    separator: str
    #: Whether numbers have a decimal comma.
    commas: bool
    names: tuple[str, ...] | None
    #: Whether the first column holds the names of the rows and is left out.
    row_names: bool
    #: Which columns hold texts.
    texts: tuple[bool, ...]
    #: Lines before the first row.
    before: int


def read_table_blocks(
    stream: BinaryIO, name: str, skip: OnLine | None = None
) -> Iterator[tuple[Table, Sequence[int], int]]:
    """The rows in order: tables, each with the line of each row and the number of bytes it took.

    With ``skip`` rows that cannot be used are left out, and it is called with the line and the error.

    Raises:
        InvalidInput: it is not UTF-8, rows differ in length, or a column holds both numbers and other texts.
    """
    layout: _Layout | None = None
    line = 0
    for block in _blocks(stream):
        size = len(block)
        if layout is None:
            layout = _find_layout(_decode(block, name), name)
            if layout is None:
                line += block.count(b"\n")
                continue
            block = _without_lines(block, layout.before)
            line += layout.before
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        table = _parse_fast(block, layout) if size >= BLOCK // 2 else None
        if table is not None and len(table) == count:
            yield table, range(line + 1, line + 1 + count), size
        else:
            found = _parse(_decode(block, name), layout, name, line, skip)
            if found is not None:
                yield *found, size
        line += count


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream in blocks of whole lines in UTF-8, which end in line feeds."""
    rest = stream.read(BLOCK // 16)
    if rest.startswith(UTF16):  # as a whole: these files are made by spreadsheets, which have a limit
        try:
            content = (rest + stream.read()).decode("utf-16").encode()
        except UnicodeDecodeError:
            content = rest + stream.read()  # refused as not UTF-8
        stream, rest = io.BytesIO(content), b""
    rest = rest.removeprefix(b"\xef\xbb\xbf")
    is_cr = b"\r" in rest and b"\n" not in rest
    more = True
    while more:
        read = stream.read(BLOCK)
        more = bool(read)
        block = rest + read
        if is_cr:
            block = block.replace(b"\r", b"\n")
        end = _last_end(block) if more else len(block)
        if end:
            yield block[:end]
        rest = block[end:]


def _last_end(block: bytes) -> int:
    """The end of the last line that ends outside quotes; 0 if none does."""
    end = block.rfind(b"\n") + 1
    while end and block.count(b'"', 0, end) % 2:
        end = block.rfind(b"\n", 0, block.rfind(b'"', 0, end)) + 1
    return end


def _without_lines(block: bytes, count: int) -> bytes:
    start = 0
    for _ in range(count):
        start = block.find(b"\n", start) + 1 or len(block)
    return block[start:]


def _decode(block: bytes, name: str) -> str:
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text.", "Save it as UTF-8.") from error


def _find_layout(text: str, name: str) -> _Layout | None:
    """What the table is like, by its first lines; None if it has no rows."""
    separator, rest, skipped = find_separator(text)
    # Quotes may hold line feeds, so the sample is cut by the parser's own lines.
    sample = rest if rest.count("\n") < _SAMPLE else "".join(rest.splitlines(keepends=True)[:_SAMPLE])
    if sample.count('"') % 2:
        sample = rest
    lines, numbers = read_cells(sample, separator, name, skipped)
    commas = separator == ";" or (separator != "," and has_decimal_commas(lines))
    if not lines:
        return None
    names, rows, row_lines = split_header(with_points(lines) if commas else lines, numbers)
    if not rows:
        return None
    before = skipped if len(rows) == len(lines) else numbers[0]
    row_names = len(rows[0]) < len(lines[len(lines) - len(rows)])
    width = len(rows[0]) if names is None else len(names)
    texts = tuple(
        isinstance(_kind([cells[place] for cells in rows if len(cells) == width]), str) for place in range(width)
    )
    if names is None and width > 1 and any(texts):
        line = row_lines[0]
        raise InvalidInput(
            f"{name}, line {line} holds texts and numbers.", "Name the columns in a first line, a header."
        )
    return _Layout(separator, commas, None if names is None else tuple(names), row_names, texts, before)


def _kind(cells: Sequence[str]) -> Any:
    """A text if the column holds texts, a number if it holds numbers or both."""
    try:
        return next(iter(parse_column(cells, range(len(cells)), "", None, 0)), 0.0)
    except InvalidInput:
        return 0.0


def _parse(
    text: str, layout: _Layout, name: str, before: int, skip: OnLine | None
) -> tuple[Table, Sequence[int]] | None:
    """The rows of a block, and the line of each; None if there are none. ``before`` lines stand before it."""
    lines, numbers = read_cells(text, layout.separator, name, before)
    if layout.commas:
        lines = with_points(lines)
    if layout.row_names:
        lines = [cells[1:] for cells in lines]
    good = range(len(lines))
    try:
        columns = _columns(lines, numbers, layout, name)
    except InvalidInput:
        if skip is None:
            raise
        good, columns = _usable(lines, numbers, layout, name, skip)  # type: ignore[assignment]
    if not good:
        return None
    chosen = [numbers[index] for index in good]
    if layout.names is not None:
        return Table({column: _array(cells) for column, cells in zip(layout.names, columns, strict=True)}), chosen
    if len(columns) == 1 and layout.texts[0]:
        return Table({UNNAMED: _array(columns[0])}), chosen
    return Table({UNNAMED: np.stack([_array(cells) for cells in columns], axis=1)}), chosen


def _columns(lines: Sequence[Sequence[str]], numbers: Sequence[int], layout: _Layout, name: str) -> list[Sequence[Any]]:
    width = len(layout.texts)
    for cells, number in zip(lines, numbers, strict=True):
        if len(cells) != width:
            raise InvalidInput(f"{name}, line {number} has {len(cells)} numbers; expected {width}.")
    return [
        parse_column(cells, numbers, name, layout.names, place, layout.texts[place])
        for place, cells in enumerate(zip(*lines, strict=True))
    ]


def _usable(
    lines: Sequence[Sequence[str]], numbers: Sequence[int], layout: _Layout, name: str, skip: OnLine
) -> tuple[list[int], list[Sequence[Any]]]:
    """Which lines can be used, and their columns."""
    good = []
    for index, (cells, number) in enumerate(zip(lines, numbers, strict=True)):
        try:
            _columns([cells], [number], layout, name)
            good.append(index)
        except InvalidInput as error:
            skip(number, error)
    kept = [lines[index] for index in good]
    return good, _columns(kept, [numbers[index] for index in good], layout, name)


def _array(values: Sequence[Any]) -> np.ndarray:
    """Numbers as float64, or as whole numbers where that would lose digits; texts as objects."""
    if isinstance(values[0], str):
        return np.array([*values, None], object)[:-1]
    if not any(type(value) is int for value in values):
        return np.array(values, np.float64)
    for dtype in (np.int64, np.uint64):
        try:
            if all(value == int(value) for value in values):
                return np.array([int(value) for value in values], dtype)
        except (ValueError, OverflowError):
            continue
    return np.array(values, np.float64)


def _parse_fast(block: bytes, layout: _Layout) -> Table | None:
    """The block as pyarrow parses it; None where it is not installed, or the block is not plain numbers and texts."""
    try:
        import pyarrow
        import pyarrow.csv
    except ModuleNotFoundError:
        return None
    quoted = b'"' in block
    if quoted and layout.separator.encode() + b' "' in block and layout.separator != " ":
        return None
    width = len(layout.texts) + layout.row_names
    names = [str(place) for place in range(width)]
    kinds = {
        str(place + layout.row_names): pyarrow.string() if text else pyarrow.float64()
        for place, text in enumerate(layout.texts)
    }
    try:
        table = pyarrow.csv.read_csv(
            pyarrow.BufferReader(block),
            pyarrow.csv.ReadOptions(column_names=names, block_size=max(len(block), 1)),
            pyarrow.csv.ParseOptions(delimiter=layout.separator, newlines_in_values=quoted),
            pyarrow.csv.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                null_values=[],
                strings_can_be_null=False,
                decimal_point="," if layout.commas else ".",
            ),
        )
    except pyarrow.ArrowException:
        return None
    columns = []
    for column, text in zip(table.columns, layout.texts, strict=True):
        if text:
            cells = np.empty(len(column), object)
            cells[:] = [cell.strip() for cell in column.to_pylist()]
            columns.append(cells)
            continue
        values = column.to_numpy()
        with np.errstate(invalid="ignore"):
            if column.null_count or (np.abs(values) >= _EXACT).any():
                return None
        columns.append(values)
    if layout.names is not None:
        return Table(dict(zip(layout.names, columns, strict=True)))
    return Table({UNNAMED: columns[0] if layout.texts[0] else np.stack(columns, axis=1)})

"""Read tables of comma-separated values: files of spreadsheets, of R's ``write.csv`` and of pandas.

The separator is the comma, semicolon, tab or bar that the first line has most of, the one that a line ``sep=;`` names
(Excel), or the space between quoted names (R's ``write.table``). Numbers may have a decimal comma where the separator
is no comma; unless it is a semicolon, not if all such commas may set off thousands. Files in UTF-16 need a byte order
mark. Whether the first line is a header is seen by what is in it and below it. A header that only counts the columns
(``0,1,2`` or ``V1,V2,V3``) names nothing. A first column whose name is empty holds the names of the rows and is left
out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput

_SEPARATORS = ",;\t|"
_QUOTED_NAMES = re.compile(r'"[^"]*"( "[^"]*")+ *')
_SEPARATOR_LINE = re.compile(r"sep=([,;\t|])\r?\n?", re.IGNORECASE)
#: How texts in UTF-16 begin.
UTF16 = (b"\xff\xfe", b"\xfe\xff")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,(\d{1,2}|\d{4,})(e[+-]?\d+)?", re.IGNORECASE)
_COUNTING = re.compile(r"[VX]?(\d{1,6})", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d][\w.\-]*")
_WHOLE = re.compile(r"[+-]?\d+")
_MISSING = ("", "NA", "null", "None")
_BOOLEANS = {"TRUE": 1.0, "FALSE": 0.0, "True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}
#: Whole numbers beyond this would lose digits as float64.
_EXACT = 2**53
#: Columns from which a first line of numbers that count them is a header; fewer may well be a row.
_MANY = 5


def read_table(content: bytes, name: str) -> list[Any]:
    """The rows of a table: objects by column name; without a header arrays of numbers, or texts if it has one column.

    Raises:
        InvalidInput: it is not UTF-8, rows differ in length, or a column holds both numbers and other texts.
    """
    try:
        text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text.", "Save it as UTF-8.") from error
    separator, text, skipped = find_separator(text)
    lines, numbers = read_cells(text, separator, name, skipped)
    if separator == ";" or (separator != "," and has_decimal_commas(lines)):
        lines = with_points(lines)
    if not lines:
        return []
    names, lines, numbers = split_header(lines, numbers)
    if not lines:
        return []
    width = len(lines[0]) if names is None else len(names)
    for cells, number in zip(lines, numbers, strict=True):
        if len(cells) != width:
            raise InvalidInput(f"{name}, line {number} has {len(cells)} numbers; expected {width}.")
    columns = [parse_column(cells, numbers, name, names, place) for place, cells in enumerate(zip(*lines, strict=True))]
    rows = list(zip(*columns, strict=True))
    if names is not None:
        return [dict(zip(names, row, strict=True)) for row in rows]
    if width == 1 and isinstance(rows[0][0], str):
        return [row[0] for row in rows]
    if any(isinstance(cell, str) for cell in rows[0]):
        raise InvalidInput(
            f"{name}, line {numbers[0]} holds texts and numbers.", "Name the columns in a first line, a header."
        )
    return [list(row) if any(type(cell) is int for cell in row) else np.array(row) for row in rows]


def records_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of a table given by columns, as ``{"a": [1, 2], "b": [3, 4]}``; None if it is no such table."""
    values = list(columns.values())
    if not values or not all(isinstance(column, list) for column in values) or len({len(c) for c in values}) != 1:
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def read_cells(text: str, separator: str, name: str, skipped: int = 0) -> tuple[list[list[str]], list[int]]:
    """The cells of all lines that are not empty, and the numbers of these lines; ``skipped`` lines stand before them.

    Raises:
        InvalidInput: it is no table.
    """
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator, skipinitialspace=True)
    lines, numbers = [], []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append(stripped)
                numbers.append(reader.line_num + skipped)
    except csv.Error as error:
        raise InvalidInput(f"{name}, line {reader.line_num + skipped}: {error}.", "Save it as a CSV file.") from error
    return lines, numbers


def has_decimal_commas(lines: Sequence[Sequence[str]]) -> bool:
    """Whether a cell is a number whose comma can only be a decimal one."""
    return any(_DECIMAL_COMMA.fullmatch(cell) for cells in lines for cell in cells)


def with_points(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cells, with a point where a number has a decimal comma."""
    return [[_with_point(cell) for cell in cells] for cells in lines]


def find_separator(text: str) -> tuple[str, str, int]:
    """The separator, the text without the line that may name it, and the number of lines left out."""
    named = _SEPARATOR_LINE.match(text)
    if named:
        return named[1], text[named.end() :], 1
    first = (text.lstrip("\r\n").splitlines() or [""])[0]
    if _QUOTED_NAMES.fullmatch(first):
        return " ", text, 0
    return max(_SEPARATORS, key=first.count), text, 0


def _with_point(cell: str) -> str:
    """A number with a decimal comma as one with a point; any other cell as it is."""
    changed = cell.replace(",", ".", 1)
    return changed if changed != cell and _number(changed) is not None else cell


def split_header(lines: list[list[str]], numbers: list[int]) -> tuple[list[str] | None, list[list[str]], list[int]]:
    """The names of the columns (None if there are none), the other lines, and their numbers."""
    first, rest = lines[0], lines[1:]
    if rest and len(rest[0]) == len(first) + 1:  # R's write.table: the names of rows have no name
        first = ["", *first]
    if not _is_header(first, rest):
        return None, lines, numbers
    if first[0] in ("", "Unnamed: 0") and len(first) > 1:
        first, rest = first[1:], [cells[1:] for cells in rest]
    return (None if _counts(first) else first), rest, numbers[1:]


def _is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    if _counts(first):
        words = any(_number(cell) is None for cell in first)
        return bool(rest) and (words or len(first) >= _MANY)
    if any(_number(cell) is not None for cell in first):
        return False
    if all(_number(cell) is None for cells in rest[:1] for cell in cells):  # texts below: a name is a single word
        return all(cell == "" or _WORD.fullmatch(cell) for cell in first) and (bool(rest) or len(first) > 1)
    return True


def _counts(cells: Sequence[str]) -> bool:
    """Whether the cells only count the columns, from 0 or 1."""
    found = [_COUNTING.fullmatch(cell) for cell in cells]
    counted = [int(match[1]) for match in found if match]
    return (
        len(cells) > 1
        and len(counted) == len(cells)
        and counted
        in (
            list(range(len(cells))),
            list(range(1, len(cells) + 1)),
        )
    )


def parse_column(
    cells: Sequence[str],
    numbers: Sequence[int],
    name: str,
    names: Sequence[str] | None,
    place: int,
    is_text: bool | None = None,
) -> Sequence[Any]:
    """The numbers of a column, or its texts if none is a number; ``is_text`` says which, where that is known.

    Raises:
        InvalidInput: a cell of a column of numbers holds none.
    """
    if is_text:
        return cells
    values = [_number(cell) for cell in cells]
    if is_text is None and all(value is None for value in values) and not all(cell in _MISSING for cell in cells):
        return cells
    for cell, value, number in zip(cells, values, numbers, strict=True):
        if value is None:
            which = f"column '{names[place]}'" if names else f"column {place + 1}"
            what = "is empty" if cell in _MISSING else f"holds '{cell[:40]}'"
            raise InvalidInput(
                f"{name}, line {number}: {which} {what}; expected a number, as in the other lines.",
                "A row needs a number in every column; leave the row out or fill it in.",
            )
    return values


def _number(cell: str) -> float | int | None:
    """The number in a cell; None if it holds another text."""
    if _WHOLE.fullmatch(cell) and len(cell) < 400 and abs(int(cell)) > _EXACT:
        return int(cell)
    if cell in _BOOLEANS:
        return _BOOLEANS[cell]
    if "_" in cell:  # Python takes 1_000 for a number
        return None
    try:
        return float(cell)
    except ValueError:
        return None

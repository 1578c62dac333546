"""Read the rows to predict from the command line: files, directories, standard input or values.

=================================  =================================================================================
a file or directory                its rows, as ``bookserve.client.files`` reads them
a pattern such as ``*.png``        the files that match, where the shell has not replaced it
``-``                              standard input: a file of any kind, recognised by its content
anything else                      one row: JSON where it is a number, list, object or quoted text, else the text itself
=================================  =================================================================================
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from bookserve.api.native_json import row_from_json
from bookserve.client.files import KINDS, decode_utf8, literal, meant_as_json, parse_json, read_path, recognise, shorten
from bookserve.errors import BookserveError, InvalidInput, NotFound

__all__ = ["decode_utf8", "read_rows"]

_PATH = re.compile(r"\S*[/\\]\S*\.[A-Za-z]\w{0,5}")


def read_rows(
    inputs: tuple[str, ...], standard_input: BinaryIO, skip: Callable[[str, BookserveError], None] | None = None
) -> tuple[list[str], list[Any]]:
    """Read all rows of all inputs; return a short name for each row, and the rows.

    With ``skip`` inputs that cannot be used are left out, and it is called with each and its error.

    Raises:
        NotFound: an input looks like a file name, and there is no such file.
        InvalidInput: the content of a file does not have the format of its suffix.
    """
    found: list[tuple[str, Any]] = []
    for given in inputs:
        try:
            found += _read(given, standard_input)
        except (InvalidInput, NotFound) as error:
            if skip is None:
                raise
            skip(shorten(given), error)
    return [name for name, _ in found], [row for _, row in found]


def _read(given: str, standard_input: BinaryIO) -> list[tuple[str, Any]]:
    if given == "-":
        rows = recognise(standard_input.read(), "standard input")
        return [("-", rows[0])] if len(rows) == 1 else [(f"- [{index}]", row) for index, row in enumerate(rows)]
    if _exists(given):
        return read_path(Path(given))
    value = literal(given)
    if value is not None:
        return [(shorten(given), row_from_json(value))]
    if meant_as_json(given):
        parse_json(given, f"'{shorten(given)}'")
    matches = _matches(given)
    if matches:
        return [row for path in matches for row in read_path(path)]
    if _PATH.fullmatch(given) or Path(given).suffix.lower() in KINDS:
        raise NotFound(f"there is no file '{given}'.", "If it is a text, send it through standard input: -")
    return [(shorten(given), given)]


def _matches(given: str) -> list[Path]:
    """The files of a pattern that ends in one of the known suffixes."""
    if not glob.has_magic(given) or Path(given).suffix.lower() not in KINDS:
        return []
    return [Path(path) for path in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207 - absolute patterns, too


def _exists(given: str) -> bool:
    try:
        return Path(given).exists()
    except (OSError, ValueError):  # a long text is no file name
        return False

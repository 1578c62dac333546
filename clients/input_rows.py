"""Read the rows to predict from the command line: files, directories, standard input or values.

=================================  =================================================================================
a file or directory                its rows, as ``bookserve.client.parts`` reads them
a pattern such as ``*.png``        the files that match, where the shell has not replaced it
``-``                              standard input: a file of any kind, recognised by its content
anything else                      one row: JSON where it is a number, list, object or quoted text, else the text itself
=================================  =================================================================================
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bookserve.api.native_json import row_from_json
from bookserve.client.files import decode_utf8, literal, meant_as_json, parse_json, shorten
from bookserve.client.parts import SUFFIXES, OnError, Part, Segment, merge_parts, read_parts, read_stream
from bookserve.errors import InvalidInput, NotFound

__all__ = ["decode_utf8", "input_size", "read_inputs", "read_rows"]

_PATH = re.compile(r"\S*[/\\]\S*\.[A-Za-z]\w{0,5}")


def read_inputs(inputs: tuple[str, ...], standard_input: BinaryIO, skip: OnError | None = None) -> Iterator[Part]:
    """The rows of all inputs, in parts. With ``skip`` what cannot be used is left out, and it is called.

    Raises:
        NotFound: an input looks like a file name, and there is no such file.
        InvalidInput: the content of a file does not have the format of its suffix.
    """
    return merge_parts(_each(inputs, standard_input, skip))


def read_rows(inputs: tuple[str, ...], standard_input: BinaryIO) -> tuple[list[str], list[Any]]:
    """All rows at once: a short name for each, and the rows. Raises as ``read_inputs`` does."""
    parts = list(read_inputs(inputs, standard_input))
    names = [part.name(index) for part in parts for index in range(len(part.rows))]
    return names, [row for part in parts for row in part.rows]


def input_size(inputs: tuple[str, ...]) -> int:
    """Bytes of all files, to show progress; 0 if that is not known, as of standard input."""
    if "-" in inputs:
        return 0
    paths = [path for given in inputs for path in ([Path(given)] if _exists(given) else _matches(given))]
    found = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in found if file.suffix.lower() in SUFFIXES)


def _each(inputs: tuple[str, ...], standard_input: BinaryIO, skip: OnError | None) -> Iterator[Part]:
    for given in inputs:
        try:
            yield from _read(given, standard_input, skip)
        except (InvalidInput, NotFound) as error:
            if skip is None:
                raise
            skip(shorten(given), error)


def _read(given: str, standard_input: BinaryIO, skip: OnError | None) -> Iterator[Part]:
    if given == "-":
        yield from read_stream(standard_input, "-", skip)
        return
    if _exists(given):
        yield from read_parts(Path(given), skip)
        return
    value = literal(given)
    if value is not None:
        yield _value(given, row_from_json(value))
        return
    if meant_as_json(given):
        parse_json(given, f"'{shorten(given)}'")
    matches = _matches(given)
    for path in matches:
        yield from read_parts(path, skip)
    if matches:
        return
    if _PATH.fullmatch(given) or Path(given).suffix.lower() in SUFFIXES:
        raise NotFound(f"there is no file '{given}'.", "If it is a text, send it through standard input: -")
    yield _value(given, given)


def _value(given: str, row: Any) -> Part:
    return Part([row], (Segment(shorten(given), 0, 1, alone=True),))


def _matches(given: str) -> list[Path]:
    """The files of a pattern that ends in one of the known suffixes."""
    if not glob.has_magic(given) or Path(given).suffix.lower() not in SUFFIXES:
        return []
    return [Path(path) for path in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207 - absolute patterns, too


def _exists(given: str) -> bool:
    try:
        return Path(given).exists()
    except (OSError, ValueError):  # a long text is no file name
        return False

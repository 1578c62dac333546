"""Read the rows to predict from the command line: files, standard input or values.

=================================  =================================================================================
PNG, JPEG, GIF, BMP, WEBP          the file's bytes are one row
CSV, TSV                           one row per line; with a header, columns go to the model by name
JSON                               a list of rows, ``{"instances": [rows]}``, or any other value as one row
JSONL                              one row per line
NPY, NPZ                           one row for each index of the first axis; several arrays are the inputs of a model
TXT                                the whole text is one row
``-``                              standard input: any of these, recognised by its content
anything else                      one row: JSON where it is a number, list, object or quoted text, else the text itself
=================================  =================================================================================

In JSON, ``{"b64": "…"}`` stands for bytes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bookserve.api.native_json import row_from_json
from bookserve.errors import InvalidInput, NotFound
from bookserve.formats.tables import read_table

Rows = list[Any]

_PATH = re.compile(r"\S*[/\\]\S*\.[A-Za-z]\w{0,5}")
_MEANT_AS_JSON = re.compile(r'\s*(\{\s*"|\[\s*[\[{"]|\[\s*-?\d[\d.]*\s*,)')
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")


def read_rows(inputs: tuple[str, ...], standard_input: BinaryIO) -> tuple[list[str], Rows]:
    """Read all rows of all inputs; return a short name for each row, and the rows.

    Raises:
        NotFound: an input looks like a file name, and there is no such file.
        InvalidInput: the content of a file does not have the format of its suffix.
    """
    names: list[str] = []
    rows: Rows = []
    for given in inputs:
        found = _read(given, standard_input)
        name = _shorten(Path(given).name if _is_file(given) else given)
        names += [name] if len(found) == 1 else [f"{name} [{index}]" for index in range(len(found))]
        rows += found
    return names, rows


def _read(given: str, standard_input: BinaryIO) -> Rows:
    if given == "-":
        return _recognise(standard_input.read(), "standard input")
    if _is_file(given):
        try:
            content = Path(given).read_bytes()
        except OSError as error:
            raise InvalidInput(f"{given} cannot be read: {error.strerror}.") from error
        rows = _KINDS.get(Path(given).suffix.lower(), _recognise)(content, given)
        if not rows:
            raise InvalidInput(f"{given} holds no rows.")
        return rows
    value = _literal(given)
    if value is not None:
        return [row_from_json(value)]
    if _MEANT_AS_JSON.match(given):
        _parse(given, f"'{_shorten(given)}'")
    if _PATH.fullmatch(given) or Path(given).suffix.lower() in _KINDS:
        raise NotFound(f"there is no file '{given}'.", "If it is a text, send it through standard input: -")
    return [given]


def _picture(content: bytes, name: str) -> Rows:
    return [content]


def _text(content: bytes, name: str) -> Rows:
    return [decode_utf8(content, name)]


def _json(content: bytes, name: str) -> Rows:
    value = _parse(decode_utf8(content, name), name)
    if isinstance(value, dict) and len(value) == 1:
        value = value.get("instances", value.get("rows", value))
    return [row_from_json(row) for row in value] if isinstance(value, list) else [row_from_json(value)]


def _jsonl(content: bytes, name: str) -> Rows:
    lines = enumerate(decode_utf8(content, name).split("\n"), 1)
    return [row_from_json(_parse(line, f"{name}, line {number}")) for number, line in lines if line.strip()]


def _numpy(content: bytes, name: str) -> Rows:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except Exception as error:  # NumPy raises many kinds of errors for damaged files
        raise InvalidInput(f"{name} is not a whole NumPy file of numbers or strings: {error}.") from error
    columns = {
        key: list(array.tolist() if array.dtype.kind in "SU" else array) for key, array in arrays.items() if array.ndim
    }
    lengths = {len(column) for column in columns.values()}
    if len(columns) != len(arrays) or len(lengths) != 1:
        shapes = ", ".join(f"{key} {list(array.shape)}".strip() for key, array in arrays.items()) or "nothing"
        raise InvalidInput(f"{name} holds {shapes}; expected a first axis that counts rows, the same in all arrays.")
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _recognise(content: bytes, name: str) -> Rows:
    """Rows of content without a known suffix, recognised by the content."""
    if not content.strip():
        raise InvalidInput(f"{name} is empty.")
    if content.startswith(_PICTURES) or (content.startswith(b"RIFF") and content[8:12] == b"WEBP"):
        return [content]
    if content.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _numpy(content, name)
    text = decode_utf8(content, name)
    if _literal(text) is not None:
        return _json(content, name)
    if all(_literal(line) is not None for line in text.split("\n") if line.strip()):
        return _jsonl(content, name)
    if _MEANT_AS_JSON.match(text):
        _parse(text, name)
    try:
        rows = read_table(content, name)
    except InvalidInput:
        return [text]
    return rows if any(_has_number(row) for row in rows) else [text]


_KINDS: dict[str, Callable[[bytes, str], Rows]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"), _picture),
    **dict.fromkeys((".csv", ".tsv"), read_table),
    ".json": _json,
    **dict.fromkeys((".jsonl", ".ndjson"), _jsonl),
    **dict.fromkeys((".npy", ".npz"), _numpy),
    ".txt": _text,
}


def _literal(text: str) -> Any:
    """The number, list, object or string that ``text`` is in JSON; None if it is not JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return None if isinstance(value, bool) else value


def _parse(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is not JSON: {error}.") from error


def decode_utf8(content: bytes, name: str) -> str:
    """Decode UTF-8.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text.", "Save it as UTF-8.") from error


def _has_number(row: Any) -> bool:
    values = row.values() if isinstance(row, dict) else row
    return not isinstance(row, str) and any(not isinstance(value, str) for value in values)


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except OSError:  # a long text is no file name
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _shorten(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"

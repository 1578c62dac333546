"""Read rows from files: pictures, tables, JSON, NumPy arrays, texts, and directories of these.

=================================  =================================================================================
PNG, JPEG, TIFF, WEBP, AVIF, …     the file's bytes are one row: any format that Pillow reads; of an animation, or of
                                   several pages, each frame is one
CSV, TSV                           one row per line; with a header, columns go to the model by name
JSON                               a list of rows, ``{"instances": [rows]}``, a table by columns ``{"a": [1, 2], …}``,
                                   or any other value as one row
JSONL, NDJSON                      one row per line
NPY, NPZ                           one row for each index of the first axis; several arrays are the inputs of a model
TXT                                the whole text is one row
any other                          any of these, recognised by its content
a directory                        the files in it and below it that have one of these suffixes, by name
=================================  =================================================================================

In JSON, ``{"b64": "…"}`` stands for bytes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.api.native_json import row_from_json
from bookserve.errors import InvalidInput, NotFound
from bookserve.formats.tables import read_table, records_of_columns
from bookserve.images import encode_lossless

Rows = list[Any]

_MEANT_AS_JSON = re.compile(r'\s*(\{\s*"|\[\s*[\[{"]|\[\s*-?\d[\d.]*\s*,)')
#: How picture files begin.
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\0\0\1\0", b"8BPS")
_NETPBM = re.compile(rb"P[1-6]\s+(#|\d+\s+\d)")


def read_path(path: Path) -> list[tuple[str, Any]]:
    """The rows of a file, or of all files of a directory, each with a name that says where it is from.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the content of a file does not have the format of its suffix, or there are no rows in it.
    """
    if path.is_dir():
        found = find_files(path, tuple(KINDS))
        return [row for file in found for row in _named(file.relative_to(path).as_posix(), read_file(file))]
    return _named(path.name, read_file(path))


def find_files(directory: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with one of these suffixes in a directory and below it, by name, without hidden ones.

    Raises:
        InvalidInput: there are none.
    """
    found = sorted(f for f in directory.rglob("*") if f.suffix.lower() in suffixes and _is_shown(f, directory))
    if not found:
        hint = f"Files must end in one of {', '.join(sorted(suffixes))}."
        raise InvalidInput(f"the directory {directory} has no files of a known kind.", hint)
    return found


def read_file(path: Path) -> Rows:
    """The rows of one file. Raises as ``read_path`` does."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file '{path}'.") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    rows = KINDS.get(path.suffix.lower(), recognise)(content, str(path))
    if not rows:
        raise InvalidInput(f"{path} holds no rows.")
    return rows


def _named(name: str, rows: Rows) -> list[tuple[str, Any]]:
    short = shorten(name)
    return [(short, rows[0])] if len(rows) == 1 else [(f"{short} [{index}]", row) for index, row in enumerate(rows)]


def _is_shown(file: Path, directory: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(directory).parts)


def _picture(content: bytes, name: str) -> Rows:
    """The file as one row; of one with several frames or pages, each as a PNG file."""
    if not _may_have_frames(content):
        return [content]
    from PIL import Image, ImageSequence

    try:
        with Image.open(io.BytesIO(content)) as picture:
            if getattr(picture, "n_frames", 1) == 1:
                return [content]
            return [encode_lossless(frame.copy()) for frame in ImageSequence.Iterator(picture)]
    except Exception:  # Pillow raises many kinds of errors; whoever decodes the picture says what is wrong
        return [content]


def _may_have_frames(content: bytes) -> bool:
    """Whether the file is of a kind with several frames or pages: GIF, TIFF, animated PNG, WebP or AVIF."""
    if content.startswith((b"GIF8", b"II*\0", b"MM\0*")) or content[4:12] == b"ftypavis":
        return True
    if content.startswith(b"\x89PNG"):
        return b"acTL" in content[:1024]  # it stands before the pixels
    return content[12:16] == b"VP8X" and bool(content[20] & 2)


def _text(content: bytes, name: str) -> Rows:
    return [decode_utf8(content, name)]


def _json(content: bytes, name: str) -> Rows:
    value = parse_json(decode_utf8(content, name), name)
    if isinstance(value, dict):
        value = next((value[key] for key in ("instances", "rows") if isinstance(value.get(key), list)), value)
    if isinstance(value, dict) and len(value) > 1 and value.keys() != {"b64"}:
        value = _table_by_columns(value) or value
    return [row_from_json(row) for row in value] if isinstance(value, list) else [row_from_json(value)]


def _table_by_columns(value: dict[str, Any]) -> Rows | None:
    """The rows of ``{"a": [1, 2], "b": [3, 4]}``; None where an entry is no list of plain values."""
    plain = all(isinstance(c, list) and not any(isinstance(x, list | dict) for x in c) for c in value.values())
    return records_of_columns(value) if plain else None


def _jsonl(content: bytes, name: str) -> Rows:
    lines = enumerate(decode_utf8(content, name).split("\n"), 1)
    return [row_from_json(parse_json(line, f"{name}, line {number}")) for number, line in lines if line.strip()]


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


def is_picture(content: bytes) -> bool:
    """Whether ``content`` begins as a file of a picture does."""
    if content.startswith(_PICTURES) or _NETPBM.match(content):
        return True
    return (content[:4] == b"RIFF" and content[8:12] == b"WEBP") or content[4:12] in (b"ftypavif", b"ftypavis")


def recognise(content: bytes, name: str) -> Rows:
    """Rows of content without a known suffix, recognised by the content."""
    if not content.strip():
        raise InvalidInput(f"{name} is empty.")
    if is_picture(content):
        return _picture(content, name)
    if content.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _numpy(content, name)
    text = decode_utf8(content, name)
    if literal(text) is not None:
        return _json(content, name)
    if all(literal(line) is not None for line in text.split("\n") if line.strip()):
        return _jsonl(content, name)
    if meant_as_json(text):
        parse_json(text, name)
    try:
        rows = read_table(content, name)
    except InvalidInput:
        return [text]
    return rows if any(_has_number(row) for row in rows) else [text]


#: Suffixes of the picture formats that Pillow reads.
PICTURES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".avif", ".avifs"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".pcx", ".psd"),
)
#: Suffix → the function that reads such a file.
KINDS: dict[str, Callable[[bytes, str], Rows]] = {
    **dict.fromkeys(PICTURES, _picture),
    **dict.fromkeys((".csv", ".tsv"), read_table),
    ".json": _json,
    **dict.fromkeys((".jsonl", ".ndjson"), _jsonl),
    **dict.fromkeys((".npy", ".npz"), _numpy),
    ".txt": _text,
}


def literal(text: str) -> Any:
    """The number, list, object or string that ``text`` is in JSON; None if it is not JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return None if isinstance(value, bool) else value


def parse_json(text: str, name: str) -> Any:
    """The value of a JSON text.

    Raises:
        InvalidInput: it is not JSON; the message has line and column.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is not JSON: {error}.") from error


def meant_as_json(text: str) -> bool:
    """Whether a text begins as only JSON does, so that an error of JSON is worth more than the text."""
    return bool(_MEANT_AS_JSON.match(text))


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


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def shorten(name: str) -> str:
    """At most 40 characters of a name or text."""
    return name if len(name) <= 40 else f"{name[:39]}…"

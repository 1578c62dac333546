"""Reads rows from request bodies of several media types, so that files can be sent as they are.

===============================  ===================================================================================
``application/json``             ``{"rows": […]}``; also a bare list, and tables as R's jsonlite writes them
``image/png``, ``image/*``       the picture is one row
``text/csv``                     one row per line; with a header, columns go to the model by name
``text/plain``                   the text is one row
``application/x-ndjson``         one JSON row per line
``multipart/form-data``          each file is one row (a CSV file several); ``rows`` and ``version`` as in JSON; where a
                                 model has several inputs, fields with their names are one row
anything else                    a picture if it begins as one does, else JSON: curl and browsers send their defaults
===============================  ===================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from bookserve.api.native_json import row_from_json
from bookserve.api.requests import MAX_ROWS, PredictRequest, parse_request, validate_request
from bookserve.errors import InvalidInput
from bookserve.steps import Numbers, Step
from bookserve.table import ROW_NAMES
from bookserve.verb import Predict
from serve.transport.http.multipart import Part, parse_form

TABLES = ("text/csv", "application/csv", "text/tab-separated-values")
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
#: How the files of Pillow's formats begin that browsers and cameras write.
_PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_HINT = (
    'Send {"rows": […]}; or set the header Content-Type to what the body is: image/png, image/jpeg, text/csv, '
    "text/plain, or a form (curl -F file=@picture.png)."
)


class Field(NamedTuple):
    """A row that came in a field of a form."""

    name: str
    value: Any
    #: Whether it was written into the form, and is not a file: then it may stand for a number.
    written: bool


class RowsBody(NamedTuple):
    """The rows of a request; those of a form's fields are joined when the model is known."""

    rows: list[Any]
    version: int | None = None
    fields: tuple[Field, ...] = ()

    def rows_for(self, verb: Predict) -> list[Any]:
        """The rows as ``verb`` takes them.

        Raises:
            InvalidInput: there are none, or too many.
        """
        rows = [*self.rows, *_rows_of_fields(self.fields, verb.inputs)]
        if not rows:
            raise InvalidInput("there are no rows in the request.", _HINT)
        if len(rows) > MAX_ROWS:
            raise InvalidInput(f"the request has {len(rows):,} rows; at most {MAX_ROWS:,} are accepted.", "Send fewer.")
        return [rows] if _is_one_row(rows, verb.inputs) else rows


def is_picture(body: bytes) -> bool:
    """Whether a body begins as a picture file does."""
    return body.startswith(_PICTURES) or (body[:4] == b"RIFF" and body[8:12] == b"WEBP")


def media_type(content_type: str) -> str:
    """The media type of a Content-Type header, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_single(kind: str, body: bytes) -> bool:
    """Whether a body of that media type is one row by itself: a picture or a text."""
    return kind.startswith("image/") or (kind != "application/json" and is_picture(body)) or is_plain_text(kind, body)


def is_plain_text(kind: str, body: bytes) -> bool:
    """Whether a body is a text. Browsers also call JSON so, where a page sets no type."""
    return kind == "text/plain" and body.lstrip()[:1] != b"{"


def single_row(kind: str, body: bytes) -> str | bytes:
    """The row in a body that ``is_single``: the text, or the bytes of the picture.

    Raises:
        InvalidInput: a text is not UTF-8.
    """
    return _text(body) if is_plain_text(kind, body) else body


def read_rows(content_type: str, body: bytes) -> RowsBody:
    """The rows in a body; ``content_type`` is the request's header.

    Raises:
        InvalidInput: the body is not what its type says; the hint says what can be sent.
    """
    kind = media_type(content_type)
    if kind == "multipart/form-data":
        return _rows_of_form(parse_form(content_type, body))
    if is_single(kind, body):
        return RowsBody([single_row(kind, body)])
    if kind in TABLES:
        from bookserve.formats.tables import read_table

        return RowsBody(read_table(body, "the table"))
    if kind in LINES:
        return RowsBody(_rows_of_lines(body))
    return _rows_of_json(body)


def _rows_of_json(body: bytes) -> RowsBody:
    """Rows in JSON: the request of the API, or the forms in which other programs write tables and single rows."""
    try:
        request = parse_request(PredictRequest, body)
        return RowsBody([row_from_json(row) for row in request.rows], request.version)
    except RecursionError as error:
        raise InvalidInput("the rows are nested too deeply.") from error
    except InvalidInput as error:
        other = _other_json(body)
        if other is None:
            raise InvalidInput(error.message, _HINT) from error
    try:
        rows, version = other
        request = validate_request(PredictRequest, {"rows": rows, "version": version})
        return RowsBody([row_from_json(row) for row in request.rows], request.version)
    except RecursionError as error:
        raise InvalidInput("the rows are nested too deeply.") from error


def _other_json(body: bytes) -> tuple[list[Any], Any] | None:
    """The rows and the version of a document that is no ``PredictRequest``; None if it has no rows either."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = _with_nan(body)
    if isinstance(document, list):
        return (document, None) if document else None
    if not isinstance(document, dict):
        return None
    if document.keys() <= {"rows", "version"} and "rows" in document:
        return _as_rows(document["rows"]), document.get("version")
    if document.keys() & {"rows", "row", "version", "instances", "inputs"} or not document:
        return None
    return _as_rows(document), None


def _with_nan(body: bytes) -> Any:
    """A document with the numbers NaN and Infinity, which Python's and R's writers add to JSON; else None."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _as_rows(value: Any) -> list[Any]:
    """A table by columns, or a single row that was not put into a list (jsonlite's ``auto_unbox``), as rows."""
    if isinstance(value, dict) and value.keys() != {"b64"}:
        from bookserve.formats.tables import records_of_columns

        return records_of_columns({name: item for name, item in value.items() if name not in ROW_NAMES}) or [value]
    return value if isinstance(value, list) else [value]


def _rows_of_lines(body: bytes) -> list[Any]:
    rows = []
    for number, line in enumerate(_text(body).split("\n"), 1):
        if line.strip():
            try:
                rows.append(row_from_json(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"line {number} is not JSON: {error}.", "Write one row in each line.") from error
    return rows


def _rows_of_form(parts: Iterable[Part]) -> RowsBody:
    rows: list[Any] = []
    fields: list[Field] = []
    version = None
    for part in parts:
        if part.name == "version" and not part.filename:
            version = _version(part.data)
        elif part.name == "rows" and not part.filename and part.content_type in ("", "application/json"):
            rows += _rows_of_json(b'{"rows":%b}' % part.data).rows
        elif part.content_type in (*TABLES, *LINES, "application/json") or part.filename.lower().endswith(".csv"):
            kind = part.content_type if part.content_type in (*LINES, "application/json") else "text/csv"
            rows += read_rows(kind, part.data).rows
        elif part.content_type.startswith("image/") or is_picture(part.data):
            fields.append(Field(part.name, part.data, False))
        else:
            is_text = part.content_type in ("", "text/plain") or part.filename.lower().endswith(".txt")
            value: Any = _text(part.data) if is_text else part.data
            fields.append(Field(part.name, value, is_text and not part.filename))
    return RowsBody(rows, version, tuple(fields))


def _rows_of_fields(fields: Sequence[Field], inputs: Mapping[str, tuple[Step, ...]]) -> list[Any]:
    """A row for each field; or one row of them all, if they are the several inputs of a model."""
    if len(inputs) > 1:
        if not fields:
            return []
        if {field.name for field in fields} != inputs.keys() or len(fields) != len(inputs):
            given = ", ".join(field.name for field in fields)
            raise InvalidInput(f"the form has the fields {given}; the model takes {', '.join(inputs)}.", _HINT)
        return [{field.name: _field_value(field, inputs[field.name]) for field in fields}]
    steps = next(iter(inputs.values()), ())
    return [_field_value(field, steps) for field in fields]


def _field_value(field: Field, steps: tuple[Step, ...]) -> Any:
    """The value of a field; one that was written is JSON if the model takes numbers."""
    if not (field.written and steps and isinstance(steps[0], Numbers) and steps[0].dtype != "string"):
        return field.value
    try:
        return row_from_json(json.loads(field.value))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the field '{field.name}' is '{field.value[:40]}'; expected numbers.", "Write them as JSON: [1, 2, 3]."
        ) from error


def _is_one_row(rows: list[Any], inputs: Mapping[str, tuple[Step, ...]]) -> bool:
    """Whether the rows are the numbers of a single row that was not put into a list."""
    steps = next(iter(inputs.values()), ())
    if len(inputs) != 1 or not steps or not isinstance(steps[0], Numbers):
        return False
    return steps[0].shape == (len(rows),) and all(type(row) in (int, float) for row in rows) and len(rows) > 1


def _version(data: bytes) -> int:
    text = data.strip()
    if not (text.isdigit() and len(text) < 19):
        raise InvalidInput("the field 'version' is not a number.", "Send the number of a version, or leave it out.")
    return int(text)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("the text is not UTF-8.", "Save it as UTF-8.") from error

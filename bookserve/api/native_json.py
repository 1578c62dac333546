"""Convert rows and answers to JSON and back, for bookserve's own HTTP API and its client.

Bytes anywhere in a row are ``{"b64": "<standard base64>"}``; arrays are nested lists.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from bookserve.api.base64_text import decode_base64
from bookserve.errors import InvalidInput
from bookserve.steps import Label
from bookserve.verb import Answer


def dump_json(value: Any, *, finite: bool = True) -> bytes:
    """Encode a request with rows as JSON; with ``finite`` False as the dialect that has NaN and Infinity.

    Raises:
        InvalidInput: it has NaN or infinite numbers, which JSON cannot represent, or a value of an unknown type.
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=not finite, separators=(",", ":")).encode()
    except ValueError as error:
        raise InvalidInput(
            "JSON cannot represent NaN or infinite numbers.", "Use a grpc:// or local: address."
        ) from error


def row_from_json(value: Any) -> Any:
    """A row (or a part of it) from decoded JSON: ``b64`` objects become bytes; arrays stay lists.

    Raises:
        InvalidInput: a ``b64`` value is not base64.
    """
    if isinstance(value, dict):
        if value.keys() == {"b64"} and isinstance(value["b64"], str):
            try:
                return decode_base64(value["b64"])
            except InvalidInput as error:
                raise InvalidInput("a row's b64 is not base64.", error.hint) from error
        return {name: row_from_json(item) for name, item in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], int | float):
        return [row_from_json(item) for item in value]
    return value


def answer_from_json(value: dict[str, Any]) -> Answer:
    """The answer from decoded JSON (``bookserve.verb.plain_answers`` is the inverse); numbers are float64 or int64."""
    return {name: _output(item) for name, item in value.items()}


def _output(value: Any) -> list[Label] | np.ndarray:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [Label(item["label"], float(item["score"])) for item in value]
    array = np.asarray(value)
    if array.dtype.kind == "U":
        return np.asarray(np.vectorize(str.encode, otypes=[object])(array))
    return array.astype(np.float64) if array.dtype == object else array  # JSON has null for NaN


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise InvalidInput(f"a row holds {type(value).__name__}; expected text, bytes, numbers, lists or objects.")

"""Rows and answers as JSON and back: what the server's home door and the HTTP wire share.

Bytes, wherever they stand in a row, are ``{"b64": "<standard base64>"}``; arrays are nested lists.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.steps import Label
from bookserve.verb import Answer


def dump_json(value: Any) -> bytes:
    """A request that holds rows as JSON.

    Raises:
        InvalidInput: NaN or infinite numbers, which JSON does not have, or something that is no row.
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise InvalidInput("JSON cannot carry NaN or infinite numbers.", "Use a grpc:// or local: address.") from error


def row_from_json(value: Any) -> Any:
    """A row (or part of one) as it was before ``dump``, with arrays as lists.

    Raises:
        InvalidInput: ``b64`` that is not base64.
    """
    if isinstance(value, dict):
        if value.keys() == {"b64"} and isinstance(value["b64"], str):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except ValueError as error:
                raise InvalidInput(f"a row's b64 is not base64: {error}.", "Use the standard alphabet.") from error
        return {name: row_from_json(item) for name, item in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], int | float):
        return [row_from_json(item) for item in value]
    return value


def answer_from_json(value: dict[str, Any]) -> Answer:
    """The answer that ``bookserve.verb.simple`` made JSON of; numbers are float64 or int64."""
    return {name: _output(item) for name, item in value.items()}


def _output(value: Any) -> list[Label] | np.ndarray:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [Label(item["label"], float(item["score"])) for item in value]
    array = np.asarray(value)
    if array.dtype.kind == "U":
        return np.asarray(np.vectorize(str.encode, otypes=[object])(array))
    return array.astype(np.float64) if array.dtype == object else array  # JSON says null for what is not a number


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise InvalidInput(f"a row holds {type(value).__name__}; expected text, bytes, numbers, lists or objects.")

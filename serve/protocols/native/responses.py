# ruff: noqa: TID253
"""JSON responses of bookserve's own API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from bookserve.steps.vocabulary import Vocabulary
from serve.models.live_model import LiveModel


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with ``value`` as JSON: bytes become base64 text, and NaN, which JSON does not have, becomes null."""
    return Response(
        msgspec.json.encode(value, enc_hook=_encode_vocabulary), status, headers, media_type="application/json"
    )


def model_fields(live: LiveModel) -> dict[str, Any]:
    """The fields ``model`` and ``version`` of a response."""
    return {"model": live.name, "version": live.version}


def _encode_vocabulary(value: Any) -> str:
    if not isinstance(value, Vocabulary):
        raise TypeError(f"{type(value)} has no JSON form")
    return f"assets/{value.name}.json"  # the words are in this file of the bundle

# ruff: noqa: TID253
"""Answered: how handlers under ``/api`` answer – JSON, or the one form that errors have there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bookserve.errors import BookserveError
from serve.protocols.native import rest

Handler = Callable[[Request], Awaitable[Response]]

refused = rest.failure


def answered(handler: Handler) -> Handler:
    """Turn the five errors into answers; whatever else goes wrong is logged and told without internals."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BookserveError as error:
            return rest.failure(error)
        except Exception as error:
            return rest.failure(rest.mistake(request, error))

    return answer


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON; bytes in it become base64 text."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")

# ruff: noqa: TID253
"""Completions, models and errors in the JSON formats of OpenAI's API."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.responses import Response

from bookserve.errors import BookserveError
from bookserve.generation.text import Drawn, Piece
from serve.models.live_model import LiveModel
from serve.protocols.openai.request import UnknownModel, InvalidField
from serve.transport.http.body import TooLarge
from serve.transport.http.middleware import HeaderRefused

#: By ``BookserveError.code``.
HTTP_STATUS = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 429, "failed": 500}
_TYPES = {"overloaded": "rate_limit_error", "not_ready": "server_error", "failed": "server_error"}


class CompletionResponse:
    """One answer, whole or in chunks: what they have in common, and the counts of characters."""

    def __init__(self, model: str, prompts: Sequence[str]) -> None:
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._prompt = sum(map(len, prompts))
        self._written = 0
        self._offsets: dict[int, int] = {}

    def whole(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer with all its choices and the usage."""
        return {**self._head, "choices": choices, "usage": self.usage()}

    def chunk(self, choices: list[dict[str, Any]], **usage: Any) -> dict[str, Any]:
        """One event of a stream."""
        return {**self._head, "choices": choices, **usage}

    def choice(self, index: int, piece: Piece, echoed: str = "") -> dict[str, Any]:
        """A text, or what was added to it, behind what is ``echoed``."""
        self.count(piece)
        start = self._offsets.get(index, 0)
        self._offsets[index] = start + len(echoed) + len(piece.text)
        return {
            "index": index,
            "text": echoed + piece.text,
            "logprobs": _logprobs(piece.drawn, start) if piece.drawn else None,
            "finish_reason": piece.finish or None,
        }

    def count(self, piece: Piece) -> None:
        """Count what was written; ``choice`` does it for what it is given."""
        self._written += len(piece.text)

    def usage(self) -> dict[str, int]:
        """Characters of the prompts and of the texts so far."""
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": self._written,
            "total_tokens": self._prompt + self._written,
        }


def mean_logprob(piece: Piece) -> float:
    """How likely a text is, character by character."""
    return sum(one.logprob for one in piece.drawn) / max(len(piece.drawn), 1)


def model_fields(live: LiveModel, name: str) -> dict[str, Any]:
    """A model as it is listed."""
    created = live.bundle.manifest.created
    seconds = int(datetime.fromisoformat(created).timestamp()) if created else 0
    return {"id": name, "object": "model", "created": seconds, "owned_by": "bookserve"}


def error_fields(error: BookserveError) -> dict[str, Any]:
    """An error; ``param`` is the field that is to blame, where one is."""
    field = "model" if isinstance(error, UnknownModel) else error.field if isinstance(error, InvalidField) else ""
    return {
        "error": {
            "message": str(error),
            "type": _TYPES.get(error.code, "invalid_request_error"),
            "param": field or None,
            "code": _error_code(error),
        }
    }


def error_response(error: BookserveError, status: int | None = None) -> Response:
    """``{"error": {"message", "type", "param", "code"}}`` with the error's status, or the one that is given."""
    return json_response(error_fields(error), 413 if isinstance(error, TooLarge) else status or HTTP_STATUS[error.code])


def json_response(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error_code(error: BookserveError) -> str | None:
    if isinstance(error, UnknownModel):
        return "model_not_found"
    return error.code if isinstance(error, HeaderRefused) else None


def _logprobs(drawn: Sequence[Drawn], start: int) -> dict[str, Any]:
    return {
        "tokens": [one.text for one in drawn],
        "token_logprobs": [one.logprob for one in drawn],
        "top_logprobs": [dict([*one.top, (one.text, one.logprob)]) for one in drawn],
        "text_offset": list(range(start, start + len(drawn))),
    }

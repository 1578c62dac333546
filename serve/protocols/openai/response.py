# ruff: noqa: TID253
"""Writes completions, models and errors in the JSON formats of OpenAI's API."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from bookserve.errors import BookserveError
from bookserve.generation.text import Drawn, Piece
from serve.models.live_model import LiveModel
from serve.protocols.openai.request import InvalidField, UnknownModel
from serve.transport.http.body import TooLarge
from serve.transport.http.middleware import HeaderRefused

#: HTTP status by ``BookserveError.code``.
HTTP_STATUS = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 429, "failed": 500}
_TYPES = {"overloaded": "rate_limit_error", "not_ready": "server_error", "failed": "server_error"}


class Echo(NamedTuple):
    """A prompt that is returned before its text, and the log-probabilities of its characters but the first."""

    prompt: str
    #: None if they were not asked for.
    drawn: tuple[Drawn, ...] | None = None


class CompletionResponse:
    """Builds one response, whole or in chunks, and counts its characters."""

    def __init__(self, model: str, prompts: Sequence[str]) -> None:
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._prompt_characters = sum(map(len, prompts))
        self._text_characters = 0
        #: Length so far of each choice, by its index.
        self._offsets: dict[int, int] = {}

    def body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The whole response: all choices, and the usage."""
        return {**self._head, "choices": choices, "usage": self.usage()}

    def chunk(self, choices: list[dict[str, Any]], **usage: Any) -> dict[str, Any]:
        """One event of a stream."""
        return {**self._head, "choices": choices, **usage}

    def choice(self, index: int, piece: Piece, echoed: Echo | None = None) -> dict[str, Any]:
        """A choice: a text or the next piece of it, after the ``echoed`` prompt. Counts its characters."""
        self.count(piece)
        prompt = echoed.prompt if echoed else ""
        start = self._offsets.get(index, 0)
        self._offsets[index] = start + len(prompt) + len(piece.text)
        judged = echoed.drawn if echoed and echoed.drawn is not None else None
        drawn = piece.drawn if judged is None else (*judged, *piece.drawn)
        unjudged = prompt[: len(prompt) - len(judged)] if judged is not None else ""
        begin = start if judged is not None else start + len(prompt)
        return {
            "index": index,
            "text": prompt + piece.text,
            "logprobs": _logprobs(drawn, begin, unjudged) if drawn or unjudged else None,
            "finish_reason": piece.finish or None,
        }

    def count(self, piece: Piece) -> None:
        """Count the characters of a text that is not returned."""
        self._text_characters += len(piece.text)

    def usage(self) -> dict[str, int]:
        """Characters of the prompts and of the texts so far, as token counts."""
        return {
            "prompt_tokens": self._prompt_characters,
            "completion_tokens": self._text_characters,
            "total_tokens": self._prompt_characters + self._text_characters,
        }


def mean_logprob(piece: Piece) -> float:
    """The mean log-probability of a text's characters."""
    return sum(character.logprob for character in piece.drawn) / max(len(piece.drawn), 1)


def model_fields(live: LiveModel, name: str) -> dict[str, Any]:
    """A model as the API lists it."""
    created = live.bundle.manifest.created
    seconds = int(datetime.fromisoformat(created).timestamp()) if created else 0
    return {"id": name, "object": "model", "created": seconds, "owned_by": "bookserve"}


def error_fields(error: BookserveError) -> dict[str, Any]:
    """The JSON of an error; ``param`` is the name of the invalid field, if there is one."""
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
    """``{"error": {"message", "type", "param", "code"}}`` with ``status``, or the status of the error if None."""
    return json_response(error_fields(error), 413 if isinstance(error, TooLarge) else status or HTTP_STATUS[error.code])


def json_response(value: Any, status: int = 200) -> Response:
    """A response with ``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error_code(error: BookserveError) -> str | None:
    if isinstance(error, UnknownModel):
        return "model_not_found"
    return error.code if isinstance(error, HeaderRefused) else None


def _logprobs(drawn: Sequence[Drawn], start: int, unjudged: str = "") -> dict[str, Any]:
    """``start`` is the offset of the first character. The ``unjudged`` ones come first; nothing stands before them."""
    none: list[Any] = [None] * len(unjudged)
    return {
        "tokens": [*unjudged, *(character.text for character in drawn)],
        "token_logprobs": [*none, *(character.logprob for character in drawn)],
        "top_logprobs": [
            *none,
            *(dict([*character.top, (character.text, character.logprob)]) for character in drawn),
        ],
        "text_offset": list(range(start, start + len(unjudged) + len(drawn))),
    }

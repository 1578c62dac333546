"""The errors of other people's HTTP servers, which tell them by status and one sentence."""

from __future__ import annotations

from typing import Any

from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady, Overloaded

_KINDS: dict[int, type[BookserveError]] = {
    400: InvalidInput,
    404: NotFound,
    413: InvalidInput,
    422: InvalidInput,
    429: Overloaded,
    503: NotReady,
    504: NotReady,
}


def error_by_status(status: int, message: Any) -> BookserveError:
    """The error of an answer with that status."""
    hint = "Give an API key (api_key, --api-key) that it accepts." if status == 401 else ""
    return _KINDS.get(status, Failed)(str(message), hint)

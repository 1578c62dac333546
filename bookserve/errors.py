"""Define the five errors that bookserve raises, each with a sentence for the user.

``message`` says what was wrong and what was expected; ``hint`` says what to try. Each protocol maps the classes to its
own status codes, and the command line exits with the codes below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class BookserveError(Exception):
    """Base class of the five errors; never raised itself."""

    code: ClassVar[str]
    exit_code: ClassVar[int]

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class NotFound(BookserveError):  # noqa: N818 - reads well in the code without "Error"
    """A task, run, model, version, graph or file does not exist."""

    code, exit_code = "not_found", 3


class InvalidInput(BookserveError):  # noqa: N818
    """The input cannot be used: wrong shape, type, range, encoding or syntax."""

    code, exit_code = "invalid_input", 5


class NotReady(BookserveError):  # noqa: N818
    """The server or the model cannot be reached, is not available yet, or is no longer available."""

    code, exit_code = "not_ready", 4


class Overloaded(BookserveError):  # noqa: N818
    """The queue is full; retry later."""

    code, exit_code = "overloaded", 4


class Failed(BookserveError):  # noqa: N818
    """The request was accepted, but running it failed."""

    code, exit_code = "failed", 1


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` for a name that is nearly one of ``known``; '' if none is similar."""
    import difflib  # takes long to import, and is needed only for errors

    close = difflib.get_close_matches(given, list(known), n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(map(repr, close))}? " if close else ""


BY_CODE: dict[str, type[BookserveError]] = {
    kind.code: kind for kind in (NotFound, InvalidInput, NotReady, Overloaded, Failed)
}

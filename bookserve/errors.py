"""The five ways in which anything here can fail, each with a sentence for the user.

``message`` says what was wrong and what was expected; ``hint`` says what to try. A protocol's door maps the
classes to its own status codes; the command line maps them to the exit codes below.
"""

from __future__ import annotations

from typing import ClassVar


class BookserveError(Exception):
    """Base of the five; never raised itself."""

    code: ClassVar[str]
    exit_code: ClassVar[int]

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class NotFound(BookserveError):  # noqa: N818 - an answer to a user, not the name of a fault
    """A task, run, model, version, graph or file that is not there."""

    code, exit_code = "not_found", 3


class InvalidInput(BookserveError):  # noqa: N818
    """What was given cannot be used: wrong shape, type, range, encoding or syntax."""

    code, exit_code = "invalid_input", 5


class NotReady(BookserveError):  # noqa: N818
    """The server, or the model in it, cannot be reached or is not (or no longer) available."""

    code, exit_code = "not_ready", 4


class Overloaded(BookserveError):  # noqa: N818
    """The server has as much work waiting as it accepts; the same request may succeed later."""

    code, exit_code = "overloaded", 4


class Failed(BookserveError):  # noqa: N818
    """The work was accepted and did not succeed."""

    code, exit_code = "failed", 1


BY_CODE: dict[str, type[BookserveError]] = {
    kind.code: kind for kind in (NotFound, InvalidInput, NotReady, Overloaded, Failed)
}

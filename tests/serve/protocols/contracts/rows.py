"""What a row of the contracts says: a request as a client of some system sends it, and what the answer must be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

#: Fails if the answer is another one.
Check = Callable[[httpx.Response], None]


class Row(NamedTuple):
    what: str
    method: str
    path: str
    #: The body: bytes, or what is written as JSON; None for none.
    body: Any
    headers: dict[str, str]
    check: Check

    def send(self, http: httpx.Client) -> httpx.Response:
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return http.request(
            self.method, self.path, content=None if self.body is None else content, headers=self.headers
        )


def get(what: str, path: str, check: Check, **headers: str) -> Row:
    return Row(what, "GET", path, None, _named(headers), check)


def post(what: str, path: str, body: Any, check: Check, **headers: str) -> Row:
    return Row(what, "POST", path, body, _named(headers), check)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def gives(expected: Any) -> Check:
    """The whole answer."""

    def check(reply: httpx.Response) -> None:
        assert reply.status_code == 200, reply.text
        assert reply.json() == expected

    return check


def writes(expected: bytes) -> Check:
    """The answer byte for byte."""

    def check(reply: httpx.Response) -> None:
        assert reply.status_code == 200, reply.text
        assert reply.content == expected

    return check


def holds(*path: str | int, equal: Any) -> Check:
    """One place of the answer."""

    def check(reply: httpx.Response) -> None:
        assert reply.status_code == 200, reply.text
        found = reply.json()
        for step in path:
            found = found[step]
        assert found == equal

    return check


def says(status: int, *texts: str) -> Check:
    """An error with these words in its protocol's form."""

    def check(reply: httpx.Response) -> None:
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        message = error if isinstance(error, str) else f"{error['message']} {error.get('hint', '')}"
        for text in texts:
            assert text in message

    return check


def works(reply: httpx.Response) -> None:
    """Any answer that is no error."""
    assert reply.status_code == 200, reply.text

"""What a row of the tables says: a section of an RFC, what the client sends, and what the server must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.serve.transport.http2.rfc.client import Seen

NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM = 11

#: Fails if the server did something else.
Check = Callable[[Seen], None]


class Row(NamedTuple):
    section: str
    what: str
    #: Bytes after the connection preface and the client's SETTINGS; each piece arrives alone.
    sent: tuple[bytes, ...]
    check: Check
    #: Whether the connection must be usable afterwards.
    lives: bool


def answered(content: bytes = b"frog", stream: int = 1, status: str = "0") -> Check:
    """The call has its answer."""

    def check(seen: Seen) -> None:
        assert seen.answer(stream) == ("200", status, content)
        assert stream not in seen.resets()

    return check


def refused(http_status: str, stream: int = 1) -> Check:
    """The request is not gRPC's, and has an HTTP status."""

    def check(seen: Seen) -> None:
        found = seen.answer(stream)
        assert found is not None
        assert found[0] == http_status
        assert seen.resets() == {}

    return check


def nothing(seen: Seen) -> None:
    """The server goes on as if nothing had been sent."""
    assert seen.resets() == {}


def resets(stream: int, *codes: int) -> Check:
    """A stream error (section 5.4.2): only that stream ends."""

    def check(seen: Seen) -> None:
        found = seen.resets()
        assert list(found) == [stream]
        assert found[stream] in codes

    return check


def ends(*codes: int) -> Check:
    """A connection error (section 5.4.1): GOAWAY with its code, and then the connection is closed."""

    def check(seen: Seen) -> None:
        assert seen.goaway() in codes
        assert seen.ended

    return check


def row(section: str, what: str, check: Check, *sent: bytes) -> Row:
    """A row after which the connection is usable."""
    return Row(section, what, sent, check, True)


def fatal(section: str, what: str, codes: tuple[int, ...] | int, *sent: bytes) -> Row:
    """A row that ends the connection with one of these codes."""
    return Row(section, what, sent, ends(*(codes if isinstance(codes, tuple) else (codes,))), False)

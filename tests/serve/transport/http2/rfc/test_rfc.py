"""HTTP/2 and HPACK: each row of two tables is a case of RFC 9113 or RFC 7541 with gRPC requests."""

from __future__ import annotations

import asyncio
import logging

import pytest

from serve.transport.http2 import connection
from serve.transport.http2.config import Config
from tests.serve.transport.http2.rfc import rfc7541, rfc9113
from tests.serve.transport.http2.rfc.client import PING, PREFACE, call, converse, frame, settings
from tests.serve.transport.http2.rfc.rows import Row

TABLE = {
    f"RFC {number} {row.section}: {row.what}": row
    for number, rows in ((9113, rfc9113.ROWS), (7541, rfc7541.ROWS))
    for row in rows
}
CONFIG = Config(max_concurrent_streams=4)
#: What is sent after each row: both are answered if the connection lives.
LAST_STREAM = 2**21 + 1
LAST = frame(PING, 0, 0, b"the last") + settings((4, 65_535)) + call(LAST_STREAM)


def test_the_table_has_no_row_twice() -> None:
    assert len(TABLE) == len(rfc9113.ROWS) + len(rfc7541.ROWS) >= 147


@pytest.mark.parametrize("turn_seconds", [1000.0, 0.0], ids=["at once", "one frame a turn"])
@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_row(case: Row, turn_seconds: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """However many frames of those that have come are handled before the methods run: that depends on the machine."""
    monkeypatch.setattr(connection, "TURN_SECONDS", turn_seconds)
    sent = [PREFACE + settings(), *case.sent]
    with caplog.at_level(logging.ERROR):
        case.check(asyncio.run(converse(*sent, config=CONFIG)))
        after = asyncio.run(converse(*sent, LAST, config=CONFIG))
    assert not caplog.records
    assert after.ended is not case.lives
    if case.lives:
        assert after.goaway() is None
        assert b"the last" in after.pings()
        if LAST_STREAM not in after.resets():  # where streams are open, as many as there may be
            assert after.answer(LAST_STREAM) == ("200", "0", b"frog")

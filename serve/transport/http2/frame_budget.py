"""What one client may ask of a connection without giving it work: a budget that every frame without a result costs.

The head of a call costs by its fields, and only a call that its method answers with success gets that back; one that
it answers with another status gets back all but ``FAILURE_COST``. Whatever else costs CPU time, such as a cancelled or
a refused call, a PING or a frame on a stream that has ended, is paid from what the budget gains each second. So a
mixture of attack and ordinary calls costs what the attack alone does.
"""

from __future__ import annotations

from serve.transport.http2.frames import ErrorCode, Http2ConnectionError

#: Units that a client may spend at once, beside those for each stream that it may open; and that it gains each second.
#: A cancelled call of ten fields costs eight, so a proxy's connection may cancel 750 calls a second.
BURST, _BURST_PER_STREAM, PER_SECOND = 2000, 8, 6000
#: Units that a call costs in addition if the client cancels it or makes the server reset or refuse it.
RESET_COST = 4
#: Units that a call costs which its method answers with an error status. So 6,000 of them a second are allowed, more
#: than a process answers: a client whose model is gone, or whose server is overloaded, loses no connection.
FAILURE_COST = 1
#: Units that a frame on a stream that has ended costs.
DEAD_STREAM_COST = 2
#: Bytes that cost one unit of a head that is too large: it is decoded up to the limit, and read to its end.
BYTES_PER_UNIT = 128
#: Fields of a head that cost one unit.
_FIELDS_PER_UNIT = 4
#: WINDOW_UPDATE frames that are free for each DATA frame that was sent, and how many a client may save up.
_UPDATES_PER_FRAME, _MAX_UPDATES = 2, 4000


def head_cost(fields: int) -> int:
    """Units that a head of so many fields costs."""
    return 1 + fields // _FIELDS_PER_UNIT


class FrameBudget:
    """The budget of one connection."""

    def __init__(self, max_concurrent_streams: int, now: float) -> None:
        self._most = BURST + _BURST_PER_STREAM * max_concurrent_streams
        self.left: float = self._most
        self._updates = 0
        self._refilled_at = now

    def refill(self, now: float) -> None:
        """Add what was gained since the last time; ``now`` is in seconds."""
        self.left += (now - self._refilled_at) * PER_SECOND
        if self.left > self._most:
            self.left = self._most
        self._refilled_at = now

    def spend(self, cost: int = 1) -> None:
        """
        Raises:
            Http2ConnectionError: nothing is left.
        """
        self.left -= cost
        if self.left < 0:
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do no work")

    def call_succeeded(self, cost: int) -> None:
        """Return what the head of a call cost, whose answer was sent in at least one DATA frame."""
        self.left += cost  # not more than it had cost; ``refill`` keeps to the most
        if self._updates < _MAX_UPDATES:
            self._updates += _UPDATES_PER_FRAME

    def call_failed(self, cost: int) -> None:
        """Return what the head of a call cost, but for ``FAILURE_COST``: its method has answered with an error."""
        self.left += cost - FAILURE_COST

    def data_sent(self) -> None:
        """Let the client answer a DATA frame with WINDOW_UPDATE, for the stream and for the connection."""
        if self._updates < _MAX_UPDATES:
            self._updates += _UPDATES_PER_FRAME

    def spend_update(self) -> None:
        """A WINDOW_UPDATE came.

        Raises:
            Http2ConnectionError: nothing is left.
        """
        if self._updates:
            self._updates -= 1
        else:
            self.spend()

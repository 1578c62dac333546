"""Sends the short answers that several calls of one connection give in one turn of the event loop together.

Every write to a socket is a system call, which costs as much as reading a small request.
"""

from __future__ import annotations

import asyncio

#: Bytes that may wait for the end of the turn: more gain nothing, and would delay the transport's flow control.
_MAX_GATHERED = 2**14


class GatheredWriter:
    """Writes to one transport, in the order in which it is given the frames."""

    def __init__(self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._frames: list[bytes] = []
        self._size = 0

    def write(self, frames: bytes) -> None:
        """Send ``frames`` now, after those that wait."""
        if self._frames:
            self.flush()
        self._transport.write(frames)

    def write_soon(self, frames: bytes) -> None:
        """Send short ``frames`` together with what else comes in this turn of the loop."""
        self._size += len(frames)
        if self._size > _MAX_GATHERED:
            self.write(frames)
            self._size = 0
            return
        if not self._frames:
            self._loop.call_soon(self.flush)
        self._frames.append(frames)

    def flush(self) -> None:
        """Send the frames that wait, unless the connection has ended."""
        if self._frames and not self._transport.is_closing():
            self._transport.write(b"".join(self._frames))
        self._frames.clear()
        self._size = 0

"""Link: the transport of one client's connection – what is sent on it, how patient we are, and when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

from serve.security.limits import Limits
from serve.transport.http2 import frames
from serve.transport.http2.frames import Code, Violation

#: Frames that do no work, such as PING, which a client may send at once, beside two for every stream that it may have,
#: and how many more each second. Every answer and every piece of it allows for some more.
PATIENCE, _FORGIVEN, EARNED = 1000, 10, 4
#: Seconds of silence after which a client is asked whether it lives, and that it has to answer.
IDLE, ANSWER = 300.0, 20.0
#: Seconds that a connection stays after the last word on it.
LINGER = 2.0
#: The PING whose answer says that the client has heard of the end.
LEAVING = b"leaving."


class Link(asyncio.Protocol):
    """What a connection has apart from the frames that it reads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: The client, as grpcio names it.
        self.peer = ""
        #: Whether the client does not read what was sent.
        self.paused = False
        #: The last stream that the client opened.
        self._last = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._most_patience = PATIENCE + 2 * limits.streams
        self._patience = self._most_patience
        self._heard = self._loop.time()
        #: When the client stopped reading, when it was asked whether it lives, and when the last word was said.
        self._stuck: float | None = None
        self._asked: float | None = None
        self._closing: float | None = None
        #: When the client was told of a gentle end, and the last stream that is heard then.
        self._told: float | None = None
        self._final: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio; over TLS, the client must have agreed on HTTP/2."""
        self._transport = transport  # type: ignore[assignment]
        self.peer = _named(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None

    def pause_writing(self) -> None:
        """See asyncio."""
        self.paused, self._stuck = True, self._loop.time()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.paused, self._stuck = False, None

    def eof_received(self) -> bool:
        """See asyncio."""
        return False  # whoever says no more wants no more

    def write(self, data: bytes) -> None:
        """Send, if anybody is there and the last word is not said."""
        if self._transport is not None and self._closing is None:
            self._transport.write(data)

    def busy(self) -> bool:
        """Whether something is under way that the end waits for."""
        return False

    def leave(self) -> None:
        """Take no new calls, but those that the client sent before it heard of it; close after the last answer."""
        if self._told is None:
            self._told = self._loop.time()
            self.write(frames.goaway(frames.MOST, Code.NO_ERROR) + frames.frame(frames.PING, 0, 0, LEAVING))

    def earn(self) -> None:
        """Something was done for the client, which lets it send some more frames that do no work."""
        self._patience = min(self._patience + EARNED, self._most_patience)

    def look(self, now: float) -> None:
        """Once a second: whether the client is still there, and what it began it also goes on with."""
        self._patience = min(self._patience + _FORGIVEN, self._most_patience)
        if self._is_dead(now):
            self.abort()
        elif self._told is not None and now - self._told > 1:
            self._last_call()  # it does not answer
        elif self._asked is None and now - self._heard > IDLE:
            self._asked = now
            self.write(frames.frame(frames.PING, 0, 0, b"bookserv"))

    def close(self) -> None:
        """Close once all is sent, whatever the client still sends."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close without another word."""
        if self._transport is not None:
            self._transport.abort()

    def _hear(self) -> None:
        self._heard, self._asked = self._loop.time(), None

    def _spend(self, patience: int = 1) -> None:
        self._patience -= patience
        if self._patience < 0:
            raise Violation(Code.ENHANCE_YOUR_CALM, "too many frames that do no work")

    def _is_dead(self, now: float) -> bool:
        """Whether the client has not read, or not answered, for too long."""
        stuck = self._stuck is not None and now - self._stuck > self.limits.seconds
        silent = self._asked is not None and now - self._asked > ANSWER
        lingers = self._closing is not None and now - self._closing > LINGER
        return stuck or silent or lingers

    def _last_call(self) -> None:
        """Hear of no new streams; what comes after this word, the client knows to send elsewhere."""
        if self._told is not None and self._final is None:
            self._final = self._last
            self.write(frames.goaway(self._final, Code.NO_ERROR))
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._final is not None and not self.busy():
            self._close()

    def _break(self, code: Code, reason: str) -> None:
        """Tell the client why, and close once that is sent."""
        if self._closing is None:
            self.write(frames.goaway(self._last if self._final is None else self._final, code, reason))
            self._close()

    def _close(self) -> None:
        """Close once all is sent, and the client has closed, too, or was given time to.

        Closing while it still sends would make its kernel drop what we said last.
        """
        if self._closing is not None:
            return
        self._closing = self._loop.time()
        if self._transport is None:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()


def _named(transport: asyncio.BaseTransport) -> str:
    """The other side, as grpcio names it."""
    address: Any = transport.get_extra_info("peername")
    if not isinstance(address, tuple):
        return "unix:"
    return f"ipv6:[{address[0]}]:{address[1]}" if ":" in address[0] else f"ipv4:{address[0]}:{address[1]}"

"""Protocol: uvicorn's HTTP/1.1 connection, which has no bounds of its own on how long and how slow a request may be.

A head that is too long is answered 431. A request that does not arrive in time is answered 408; without this, a client
that sends a byte now and then would hold its connection for ever.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any, ClassVar

from serve.security.limits import Limits
from serve.transport.http.fast_path import LONGEST, FastPathProtocol, FastRoute

_REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}


class HttpConnection(FastPathProtocol):
    """One connection; ``limited`` makes the class that holds to given limits."""

    limits: ClassVar[Limits] = Limits()

    @classmethod
    def limited(cls, limits: Limits, quick: FastRoute) -> type[HttpConnection]:
        """The class that uvicorn is given: it holds to ``limits`` and has ``quick`` for its short way."""
        longest = min(LONGEST, limits.body)
        own = {"limits": limits, "_quick": staticmethod(quick), "_longest": longest, "_heads": {}}
        return type("Connection", (cls,), own)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        #: Whether a request has begun and is not whole yet, and whether the last bytes read began it.
        self._arriving = self._began = False
        #: Bytes of its head so far, without the chunk that began it; None in its body.
        self._head: int | None = 0
        #: Bytes read at once last.
        self._chunk = 0
        self._late: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._began = False
        self._chunk = len(data)
        super().data_received(data)
        if self._arriving and self._head is not None and not self._began:
            self._head += len(data)
            if self._head > self.limits.head:
                self._refuse(431)
        if self._arriving or self._is_free():
            if self._late is None and not self.transport.is_closing():
                self._wait()
        elif self._late:  # all is here, though the parser may not have been asked
            self._arrived()

    def on_message_begin(self) -> None:
        self._arriving = self._began = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if (self._head or 0) + self._chunk > self.limits.head and self._counted() > self.limits.head:
            self._refuse(431)
            return
        self._head = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._head is None:  # its head was not refused
            super().on_body(body)

    def on_message_complete(self) -> None:
        taken = self._head is None
        self._arrived()
        if taken:
            super().on_message_complete()

    def _counted(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _arrived(self) -> None:
        self._arriving, self._head = False, 0
        if self._late:
            self._late.cancel()
            self._late = None

    def _wait(self) -> None:
        self._late = self.loop.call_later(self.limits.seconds, self._is_late)

    def _is_late(self) -> None:
        if self.flow.read_paused:  # it is we who keep the client waiting
            self._wait()
        elif not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Close the connection, with an answer where the request that is arriving has had none."""
        if self.transport.is_closing():
            return
        in_body = self._head is None
        answered = self.cycle is not None and self.cycle.response_started
        before = self.cycle is not None and not self.cycle.response_complete
        if self._arriving and not (answered if in_body else before):
            reason = _REASONS[status]
            self.transport.write(
                f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(reason) + 1}\r\nconnection: close\r\n\r\n{reason}\n".encode()
            )
        self.transport.close()

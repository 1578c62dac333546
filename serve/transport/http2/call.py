# ruff: noqa: TID253
"""Call: one call as gRPC's methods see it – what grpc.aio calls a ``ServicerContext`` – from its headers to its status.

The methods are those that grpcio is given, and so is what stands before them; they cannot tell which server calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import grpc

from serve.transport.http2.frames import Code
from serve.transport.http2.header_blocks import Metadata, encoded
from serve.transport.http2.stream import Refused, Stream

if TYPE_CHECKING:
    from serve.transport.http2.connection import Connection

logger = logging.getLogger("bookserve")

_STATUS = b"\x88"  # :status 200, of HPACK's own table
_BEGIN = _STATUS + encoded([("content-type", "application/grpc")])
_OK = encoded([("grpc-status", "0")])
#: What a message of a status may hold as it is (gRPC over HTTP/2, "Percent-Encoded").
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class Call:
    """One call. What handlers may ask of it is what grpc.aio documents for ``ServicerContext``."""

    __slots__ = (
        "_code",
        "_connection",
        "_details",
        "_initial",
        "_over",
        "_timer",
        "_trailing",
        "method",
        "stream",
        "task",
    )

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self._connection = connection
        self.stream = stream
        self.method = stream.head.path
        self.task: asyncio.Task[None] | None = None
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._initial = _BEGIN
        self._trailing: Metadata = ()
        #: Whether its status is sent, or nobody wants it any more.
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer."""
        timeout = self.stream.head.timeout
        if timeout is not None:
            self._timer = loop.call_later(timeout, self._expire)
        self.task = loop.create_task(self._run())
        self.task.add_done_callback(self._ended)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End it from outside with a status."""
        self._finish(code, details)
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """The client wants no answer any more."""
        if not self._over:
            self._over, self._code = True, grpc.StatusCode.CANCELLED
            self.stream.close()
        if self.task is not None:
            self.task.cancel()

    # What handlers ask

    def invocation_metadata(self) -> Metadata:
        return self.stream.head.metadata

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Sent with the first message, or with the status."""
        self._initial += encoded(metadata)

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._trailing = tuple(metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        if trailing_metadata:
            self._trailing = tuple(trailing_metadata)
        self._code, self._details = code, details
        raise grpc.aio.AbortError

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def peer(self) -> str:
        return self._connection.peer

    def done(self) -> bool:
        return self._over

    # What it does

    async def _run(self) -> None:
        try:
            await self._answer()
        except grpc.aio.AbortError:
            self._finish(self._code or grpc.StatusCode.UNKNOWN, self._details)
        except Refused as refused:
            self._finish(refused.code, refused.details)
        except asyncio.CancelledError:
            self._finish(grpc.StatusCode.CANCELLED, "the call was cancelled.")
        except Exception:
            logger.exception("a call to %s failed", self.method)
            self._finish(grpc.StatusCode.UNKNOWN, "the server made a mistake. Its log says more.")

    def _ended(self, _: asyncio.Task[None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.answered(self)

    async def _answer(self) -> None:
        handler = await self._connection.server.handler(self)
        if handler is None:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        read, write = handler.request_deserializer, handler.response_serializer
        request: Any = self._requests(read) if handler.request_streaming else await self._only(read)
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            async with aclosing(behaviour(request, self)) as replies:
                async for reply in replies:
                    await self._send(write(reply) if write else reply)
            self._finish(self._code or grpc.StatusCode.OK, self._details)
            return
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        reply = await behaviour(request, self)
        if self._code is None and not self._trailing and not self._over:
            self._over = True
            self.stream.answer(self._initial, write(reply) if write else reply, _OK)
            return
        if self._code in (None, grpc.StatusCode.OK):
            await self._send(write(reply) if write else reply)
        self._finish(self._code or grpc.StatusCode.OK, self._details)

    async def _only(self, read: Callable[[bytes], Any] | None) -> Any:
        """The one message of a request."""
        message = await self.stream.message()
        if message is None:
            raise Refused(grpc.StatusCode.INTERNAL, "the request holds no message; the method takes one.")
        if await self.stream.message() is not None:
            raise Refused(grpc.StatusCode.INTERNAL, "the request holds several messages; the method takes one.")
        return read(message) if read else message

    async def _requests(self, read: Callable[[bytes], Any] | None) -> AsyncIterator[Any]:
        try:
            while (message := await self.stream.message()) is not None:
                yield read(message) if read else message
        except Refused as refused:  # not the method's to answer
            self.end(refused.code, refused.details)
            await asyncio.sleep(0)  # it is cancelled here, if it is not another task that reads

    async def _send(self, message: bytes) -> None:
        if not self.stream.began:
            self.stream.begin(self._initial)
        self.stream.send(message)
        await self.stream.drained()

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        if self._over:
            return
        self._over, self._code = True, code
        fields: list[tuple[str, str | bytes]] = [("grpc-status", str(code.value[0]))]
        if details:
            fields.append(("grpc-message", quote(details, safe=_PLAIN)))
        tail = encoded([*fields, *self._trailing])
        self.stream.end(tail if self.stream.began else self._initial + tail)

    def _expire(self) -> None:
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def refuse(self, status: int) -> None:
        """Answer what is no gRPC with an HTTP status alone."""
        self._over = True
        self.stream.end(encoded([(":status", str(status))]))
        self.stream.reset(Code.NO_ERROR)

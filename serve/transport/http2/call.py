# ruff: noqa: TID253
"""One gRPC call as its method sees it, from its headers to its status: the place of ``grpc.aio.ServicerContext``.

Methods and interceptors are those that grpcio's server takes, and see no difference between the two servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, NoReturn, Protocol
from urllib.parse import quote

import grpc

from serve.transport.http2.config import Config
from serve.transport.http2.frames import ErrorCode
from serve.transport.http2.header_blocks import Metadata, encode_headers
from serve.transport.http2.stream import StatusError, Stream

_STATUS_200 = b"\x88"  # index 8 of HPACK's static table
_HEADERS = _STATUS_200 + encode_headers([("content-type", "application/grpc")])
_TRAILERS_OK = encode_headers([("grpc-status", "0")])
#: Characters that ``grpc-message`` holds as they are (gRPC over HTTP/2, "Percent-Encoded").
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class CallOwner(Protocol):
    """What a call needs of its connection."""

    config: Config
    #: The client's address in grpcio's notation.
    peer: str

    def call_finished(self, call: Call) -> None:
        """The method of the call has ended."""


#: Finds the handler of a call's method, after all interceptors; None where there is no such method.
FindHandler = Callable[["Call"], Awaitable[grpc.RpcMethodHandler | None]]


class Call:
    """One call. Methods may use what grpc.aio documents for ``ServicerContext``."""

    __slots__ = (
        "_code",
        "_deadline",
        "_details",
        "_find_handler",
        "_headers",
        "_over",
        "_owner",
        "_trailing_metadata",
        "method",
        "stream",
        "task",
    )

    def __init__(self, find_handler: FindHandler, owner: CallOwner, stream: Stream) -> None:
        self._find_handler = find_handler
        self._owner = owner
        self.stream = stream
        self.method = stream.headers.path
        self.task: asyncio.Task[None] | None = None
        self._code: grpc.StatusCode | None = None
        self._details = ""
        #: The header block that begins the response.
        self._headers = _HEADERS
        self._trailing_metadata: Metadata = ()
        #: Whether its status is sent, or the client does not want it any more.
        self._over = False
        self._deadline: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the method in a task."""
        timeout = self.stream.headers.timeout
        if timeout is not None:
            self._deadline = loop.call_later(timeout, self._deadline_exceeded)
        self.task = loop.create_task(self._run())
        self.task.add_done_callback(self._task_done)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Send a status in place of the method, which is cancelled."""
        self._finish(code, details)
        if self.task is not None:
            self.task.cancel()

    def cancel(self) -> None:
        """Cancel the method; the client does not want a response any more."""
        if not self._over:
            self._over, self._code = True, grpc.StatusCode.CANCELLED
            self.stream.close()
        if self.task is not None:
            self.task.cancel()

    def reject(self, http_status: int) -> None:
        """Answer a request that is not gRPC with an HTTP status alone."""
        self._over = True
        self.stream.send_trailers(encode_headers([(":status", str(http_status))]))
        self.stream.reset(ErrorCode.NO_ERROR)

    # ServicerContext

    def invocation_metadata(self) -> Metadata:
        return self.stream.headers.metadata

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Add metadata that is sent with the first message, or with the status."""
        self._headers += encode_headers(metadata)

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._trailing_metadata = tuple(metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        if trailing_metadata:
            self._trailing_metadata = tuple(trailing_metadata)
        self._code, self._details = code, details
        raise grpc.aio.AbortError

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def peer(self) -> str:
        return self._owner.peer

    def done(self) -> bool:
        return self._over

    # Running the method

    async def _run(self) -> None:
        try:
            await self._respond()
        except grpc.aio.AbortError:
            self._finish(self._code or grpc.StatusCode.UNKNOWN, self._details)
        except StatusError as error:
            self._finish(error.code, error.details)
        except asyncio.CancelledError:
            self._finish(grpc.StatusCode.CANCELLED, "the call was cancelled.")
        except Exception:
            self._owner.config.logger.exception("a call to %s failed", self.method)
            self._finish(grpc.StatusCode.UNKNOWN, "the server made a mistake. Its log says more.")

    def _task_done(self, _: asyncio.Task[None]) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._owner.call_finished(self)

    async def _respond(self) -> None:
        handler = await self._find_handler(self)
        if handler is None:
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        read, write = handler.request_deserializer, handler.response_serializer
        request: Any = self._requests(read) if handler.request_streaming else await self._single_request(read)
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            async with aclosing(behaviour(request, self)) as replies:
                async for reply in replies:
                    await self._send(write(reply) if write else reply)
            self._finish(self._code or grpc.StatusCode.OK, self._details)
            return
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        reply = await behaviour(request, self)
        if self._code is None and not self._trailing_metadata and not self._over:
            self._over = True
            self.stream.send_response(self._headers, write(reply) if write else reply, _TRAILERS_OK)
            return
        if self._code in (None, grpc.StatusCode.OK):
            await self._send(write(reply) if write else reply)
        self._finish(self._code or grpc.StatusCode.OK, self._details)

    async def _single_request(self, read: Callable[[bytes], Any] | None) -> Any:
        """The message of a request that must have exactly one."""
        message = await self.stream.read_message()
        if message is None:
            raise StatusError(grpc.StatusCode.INTERNAL, "the request holds no message; the method takes one.")
        if await self.stream.read_message() is not None:
            raise StatusError(grpc.StatusCode.INTERNAL, "the request holds several messages; the method takes one.")
        return read(message) if read else message

    async def _requests(self, read: Callable[[bytes], Any] | None) -> AsyncIterator[Any]:
        try:
            while (message := await self.stream.read_message()) is not None:
                yield read(message) if read else message
        except StatusError as error:  # the method must not turn it into a status of its own
            self.end(error.code, error.details)
            await asyncio.sleep(0)  # raises CancelledError, unless a task of the method's own is reading

    async def _send(self, message: bytes) -> None:
        if not self.stream.headers_sent:
            self.stream.send_headers(self._headers)
        self.stream.send_message(message)
        await self.stream.drain()

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        if self._over:
            return
        self._over, self._code = True, code
        fields: list[tuple[str, str | bytes]] = [("grpc-status", str(code.value[0]))]
        if details:
            fields.append(("grpc-message", quote(details, safe=_PLAIN)))
        trailers = encode_headers([*fields, *self._trailing_metadata])
        self.stream.send_trailers(trailers if self.stream.headers_sent else self._headers + trailers)

    def _deadline_exceeded(self) -> None:
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

# ruff: noqa: TID253
"""One gRPC call as its method sees it, from its headers to its status: the place of ``grpc.aio.ServicerContext``.

Methods and interceptors are those that grpcio's server takes, and see no difference between the two servers.
"""

from __future__ import annotations

import asyncio
import inspect
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
_HEADERS = _STATUS_200 + encode_headers(
    [("content-type", "application/grpc"), ("grpc-accept-encoding", "identity, deflate, gzip")]
)
#: Codings of messages by grpc's names.
_CODINGS = {grpc.Compression.Gzip: "gzip", grpc.Compression.Deflate: "deflate"}
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
        "_callbacks",
        "_code",
        "_coding",
        "_deadline",
        "_details",
        "_find_handler",
        "_headers",
        "_next_uncompressed",
        "_over",
        "_owner",
        "_read",
        "_trailing_metadata",
        "_write",
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
        #: The coding of the response's messages; '' for none.
        self._coding, self._next_uncompressed = "", False
        self._read: Callable[[bytes], Any] | None = None
        self._write: Callable[[Any], bytes] | None = None
        self._callbacks: list[Callable[[Any], None]] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the method in a task."""
        timeout = self.stream.headers.timeout
        if timeout is not None:
            self._deadline = loop.call_later(timeout, self._deadline_exceeded)
        self.task = loop.create_task(self._run())
        self.task.add_done_callback(self._task_done)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Send a status in place of the method, which is cancelled, and of what it sent that nobody has read."""
        if not self.stream.closed:
            self._over, self._code = True, code
            trailers = self._status_block(code, details)
            self.stream.give_up(trailers if self.stream.headers_sent else self._headers + trailers)
        if self.task is not None:
            self.task.cancel()

    def cancel(self) -> None:
        """Cancel the method; the client does not want a response any more."""
        if not self.stream.closed:  # also one that has ended, whose answer is not sent completely
            self._over, self._code = True, grpc.StatusCode.CANCELLED
            self.stream.close()
        if self.task is not None:
            self.task.cancel()

    def stop_clock(self) -> None:
        """The stream is closed: there is no deadline any more."""
        if self._deadline is not None:
            self._deadline.cancel()

    def reject(self, http_status: int) -> None:
        """Answer a request that is not gRPC with an HTTP status alone."""
        self._over = True
        self.stream.send_trailers(encode_headers([(":status", str(http_status))]))
        self.stream.reset(ErrorCode.NO_ERROR)

    # ServicerContext

    def invocation_metadata(self) -> Metadata:
        return self.stream.headers.metadata

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Send the headers of the response with this metadata now."""
        if self.stream.headers_sent:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self.stream.send_headers(self._headers + encode_headers(metadata))

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

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata:
        return self._trailing_metadata

    def peer(self) -> str:
        return self._owner.peer

    def peer_identities(self) -> None:
        """No identities: certificates are checked, and not shown to methods."""
        return

    def peer_identity_key(self) -> None:
        return

    def auth_context(self) -> dict[str, Iterable[bytes]]:
        return {}

    def done(self) -> bool:
        return self._over

    def cancelled(self) -> bool:
        return self._over and self._code is grpc.StatusCode.CANCELLED

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline.when() - asyncio.get_running_loop().time())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback`` with this context when the method has ended."""
        self._callbacks = [*(self._callbacks or ()), callback]

    def set_compression(self, compression: grpc.Compression) -> None:
        """Compress the messages of the response, if the client reads that coding; before the first is sent."""
        if self.stream.headers_sent:
            raise grpc.aio.UsageError("Set compression failed: the initial metadata is already sent")
        coding = _CODINGS.get(compression, "")
        if coding and coding in [name.strip() for name in self.stream.headers.accepted.split(",")]:
            self._coding = coding
            self._headers += encode_headers([("grpc-encoding", coding)])

    def disable_next_message_compression(self) -> None:
        self._next_uncompressed = True

    async def read(self) -> Any:
        """The next message of the request; ``grpc.aio.EOF`` after the last."""
        message = await self.stream.read_message()
        if message is None:
            return grpc.aio.EOF
        return self._read(message) if self._read else message

    async def write(self, message: Any) -> None:
        """Send a message of the response."""
        await self._send(self._write(message) if self._write else message)

    # Running the method

    async def _run(self) -> None:
        try:
            await self._respond()
        except grpc.aio.AbortError:
            self.stream.failed = not self._over
            self._finish(self._code or grpc.StatusCode.UNKNOWN, self._details)
        except StatusError as error:
            self._finish(error.code, error.details)
        except asyncio.CancelledError:
            self._finish(grpc.StatusCode.CANCELLED, "the call was cancelled.")
        except Exception:
            self._owner.config.logger.exception("a call to %s failed", self.method)
            if self._code is not None and self._code is not grpc.StatusCode.OK:  # the method has said how it fails
                self._finish(self._code, self._details)
            self._finish(grpc.StatusCode.UNKNOWN, "the server made a mistake. Its log says more.")

    def _task_done(self, _: asyncio.Task[None]) -> None:
        self._owner.call_finished(self)
        for callback in self._callbacks or ():
            callback(self)

    async def _respond(self) -> None:
        handler = await self._find_handler(self)
        if handler is None:
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        read, write = self._read, self._write = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            self.stream.one_message = False
            request: Any = self._requests(read)
        else:
            request = await self._single_request(read)
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            answering = behaviour(request, self)
            if inspect.iscoroutine(answering):  # a method that uses ``write``
                await answering
            else:
                async with aclosing(answering) as replies:
                    async for reply in replies:
                        await self._send(write(reply) if write else reply)
            self._finish_method()
            return
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        reply = await behaviour(request, self)
        if self._code is None and not self._trailing_metadata and not self._over and not self._coding:
            self._over = self.stream.succeeded = True
            self.stream.send_response(self._headers, write(reply) if write else reply, _TRAILERS_OK)
            return
        if self._code in (None, grpc.StatusCode.OK):
            await self._send(write(reply) if write else reply)
        self._finish_method()

    async def _single_request(self, read: Callable[[bytes], Any] | None) -> Any:
        """The message of a request that must have exactly one."""
        message = self.stream.take_only_message()
        if message is not None:
            return read(message) if read else message
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
        self.stream.send_message(message, "" if self._next_uncompressed else self._coding)
        self._next_uncompressed = False
        await self.stream.drain()

    def _finish_method(self) -> None:
        """Send the status that the method has set, or OK."""
        code = self._code or grpc.StatusCode.OK
        if not self._over:
            self.stream.succeeded = code is grpc.StatusCode.OK
            self.stream.failed = not self.stream.succeeded
        self._finish(code, self._details)

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        if self._over:
            return
        self._over, self._code = True, code
        trailers = self._status_block(code, details)
        self.stream.send_trailers(trailers if self.stream.headers_sent else self._headers + trailers)

    def _status_block(self, code: grpc.StatusCode, details: str) -> bytes:
        fields: list[tuple[str, str | bytes]] = [("grpc-status", str(code.value[0]))]
        if details:
            fields.append(("grpc-message", quote(details, safe=_PLAIN)))
        return encode_headers([*fields, *self._trailing_metadata])

    def _deadline_exceeded(self) -> None:
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

# ruff: noqa: TID253
"""Defines gRPC services as tables of methods, for both gRPC servers and for reflection (``reflection.py``).

The messages of TensorFlow Serving and of the Open Inference Protocol are in protobuf packages of our own, so that they
do not collide with the official ones in one process; the services have the official names. Reflection uses a separate
descriptor pool for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from bookserve.errors import BookserveError, InvalidInput
from serve.observability.internal_error import internal_error

#: Seconds between two checks of an idle stream whether the server drains.
POLL_SECONDS = 0.5

T = TypeVar("T")


class CallStatus(NamedTuple):
    """The status of a failed call: code, details, trailing metadata."""

    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, str | bytes], ...] = ()


#: Makes the status for an error as the protocol defines it.
ErrorStatus = Callable[[BookserveError], CallStatus]


class Method(NamedTuple):
    """A unary method: one request, one reply, which may be serialized already."""

    answer: Callable[[Any], Awaitable[Message | bytes]]
    request: type[Message]
    reply: type[Message]


class ServerStream(NamedTuple):
    """A server-streaming method: one request, many replies."""

    answers: Callable[[Any], AsyncGenerator[Any]]
    request: type[Message]
    reply: type[Message]


class Stream(NamedTuple):
    """A bidirectional streaming method: many requests, many replies."""

    answers: Callable[[AsyncIterator[Any]], AsyncIterator[Any]]
    request: type[Message]
    reply: type[Message]


class Service(NamedTuple):
    """A service with its full name, such as ``inference.GRPCInferenceService``."""

    name: str
    methods: Mapping[str, Method | ServerStream | Stream]
    error_status: ErrorStatus

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler of all methods of this service, for a gRPC server."""
        return grpc.method_handlers_generic_handler(
            self.name, {name: self._handler(method) for name, method in self.methods.items()}
        )

    def _handler(self, method: Method | ServerStream | Stream) -> grpc.RpcMethodHandler:
        if isinstance(method, Method):
            return self._unary(method)
        return self._server_stream(method) if isinstance(method, ServerStream) else self._stream(method)

    def _unary(self, method: Method) -> grpc.RpcMethodHandler:
        """The handler of a unary method. An unreadable request ends with a status of the protocol, too."""

        async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return _serialized(await method.answer(parse_message(method.request, data)))
            except Exception as error:
                status = self._status(error)
            await context.abort(*status)
            return b""  # not reached: abort raises

        return grpc.unary_unary_rpc_method_handler(handle)

    def _server_stream(self, method: ServerStream) -> grpc.RpcMethodHandler:
        async def handle(data: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            try:
                async with aclosing(method.answers(parse_message(method.request, data))) as replies:
                    async for reply in replies:
                        yield reply.SerializeToString()
                return
            except Exception as error:
                status = self._status(error)
            await context.abort(*status)

        return grpc.unary_stream_rpc_method_handler(handle)

    def _stream(self, method: Stream) -> grpc.RpcMethodHandler:
        async def handle(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            try:
                async for reply in method.answers(parse_message(method.request, data) async for data in requests):
                    yield _serialized(reply)
                return
            except Exception as error:
                status = self._status(error)
            await context.abort(*status)

        return grpc.stream_stream_rpc_method_handler(handle)

    def _status(self, error: Exception) -> CallStatus:
        if not isinstance(error, BookserveError):
            error = internal_error(f"a call to {self.name} failed", error)
        return self.error_status(error)


def _serialized(reply: Message | bytes) -> bytes:
    return reply if type(reply) is bytes else cast(Message, reply).SerializeToString()


def parse_message(kind: type[Message], data: bytes) -> Message:
    """The message in ``data``.

    Raises:
        InvalidInput: it is not a message of that type.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"the request is not a {kind.DESCRIPTOR.name} message") from error


async def requests_until(ended: Callable[[], bool], requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """The requests of a stream. An idle stream also ends when ``ended`` returns True.

    Otherwise a draining server would wait for idle streams until its grace period is over.
    """
    next_request = asyncio.ensure_future(anext(requests, None))
    try:
        while True:
            if not (await asyncio.wait({next_request}, timeout=POLL_SECONDS))[0]:
                if ended():
                    return
                continue
            if (request := next_request.result()) is None:
                return
            yield request
            next_request = asyncio.ensure_future(anext(requests, None))
    finally:
        next_request.add_done_callback(lambda late: late.cancelled() or late.exception())  # the read ends with its call

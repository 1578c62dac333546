# ruff: noqa: TID253
"""A gRPC service as a table of its methods: served by either gRPC server, and described to clients by reflection.

The messages of TensorFlow Serving and the Open Inference Protocol are of packages of our own, so that they never
collide with the official ones in one process; the services bear the official names. Reflection describes them in a
descriptor pool of its own for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from bookserve.errors import BookserveError, InvalidInput
from serve.observability.internal_error import internal_error

#: Seconds after which an idle stream checks whether the server drains.
POLL_SECONDS = 0.5

T = TypeVar("T")


class CallStatus(NamedTuple):
    """How a failed call ends: status code, details, and trailing metadata."""

    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, str | bytes], ...] = ()


#: Writes an error as the protocol does.
ErrorStatus = Callable[[BookserveError], CallStatus]


class Method(NamedTuple):
    """A unary method: one request, one reply."""

    answer: Callable[[Any], Awaitable[Message]]
    request: type[Message]
    reply: type[Message]


class ServerStream(NamedTuple):
    """A method of one request and many replies."""

    answers: Callable[[Any], AsyncGenerator[Any]]
    request: type[Message]
    reply: type[Message]


class Stream(NamedTuple):
    """A method of many requests and many replies, for as long as both sides like."""

    answers: Callable[[AsyncIterator[Any]], AsyncIterator[Any]]
    request: type[Message]
    reply: type[Message]


class Service(NamedTuple):
    """A service under its full name, such as ``inference.GRPCInferenceService``."""

    name: str
    methods: Mapping[str, Method | ServerStream | Stream]
    error_status: ErrorStatus

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler of all calls to this service, for a gRPC server."""
        return grpc.method_handlers_generic_handler(
            self.name, {name: self._handler(method) for name, method in self.methods.items()}
        )

    def _handler(self, method: Method | ServerStream | Stream) -> grpc.RpcMethodHandler:
        if isinstance(method, Method):
            return self._unary(method)
        return self._server_stream(method) if isinstance(method, ServerStream) else self._stream(method)

    def _unary(self, method: Method) -> grpc.RpcMethodHandler:
        """A method that ends with the status of whatever went wrong, a request that cannot be read included."""

        async def answered(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return (await method.answer(parse_message(method.request, data))).SerializeToString()
            except Exception as error:
                status = self._status(error)
            await context.abort(*status)
            return b""  # not reached: abort raises

        return grpc.unary_unary_rpc_method_handler(answered)

    def _server_stream(self, method: ServerStream) -> grpc.RpcMethodHandler:
        async def answered(data: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            try:
                async with aclosing(method.answers(parse_message(method.request, data))) as replies:
                    async for reply in replies:
                        yield reply.SerializeToString()
                return
            except Exception as error:
                status = self._status(error)
            await context.abort(*status)

        return grpc.unary_stream_rpc_method_handler(answered)

    def _stream(self, method: Stream) -> grpc.RpcMethodHandler:
        async def answered(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            try:
                async for reply in method.answers(parse_message(method.request, data) async for data in requests):
                    yield reply.SerializeToString()
                return
            except Exception as error:
                status = self._status(error)
            await context.abort(*status)

        return grpc.stream_stream_rpc_method_handler(answered)

    def _status(self, error: Exception) -> CallStatus:
        if not isinstance(error, BookserveError):
            error = internal_error(f"a call to {self.name} failed", error)
        return self.error_status(error)


def parse_message(kind: type[Message], data: bytes) -> Message:
    """The message in ``data``.

    Raises:
        InvalidInput: it is none of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"the request is not a {kind.DESCRIPTOR.name} message") from error


async def requests_until(ended: Callable[[], bool], requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """The requests of a stream; it is over, too, where none came for a moment and ``ended`` says so.

    A server that drains would wait for an idle stream to the end of its patience otherwise.
    """
    coming = asyncio.ensure_future(anext(requests, None))
    try:
        while True:
            if not (await asyncio.wait({coming}, timeout=POLL_SECONDS))[0]:
                if ended():
                    return
                continue
            if (request := coming.result()) is None:
                return
            yield request
            coming = asyncio.ensure_future(anext(requests, None))
    finally:
        coming.add_done_callback(lambda late: late.cancelled() or late.exception())  # a read ends with its call


def descriptor_pool(services: Iterable[Service], files: Iterable[FileDescriptor] = ()) -> DescriptorPool:
    """A pool that knows the services and their messages, and whatever else is in ``files``.

    A service that is declared in the file of its messages is described by that file; the others get one of their own.
    """
    pool = DescriptorPool()
    known: set[str] = set()
    for file in files:
        _add_file(pool, file, known)
    by_package: dict[str, FileDescriptorProto] = {}
    for service in services:
        if _add_declaring_file(pool, service, known):
            continue
        package, _, name = service.name.rpartition(".")
        file_name = f"{package.replace('.', '/')}.proto"
        found = by_package.setdefault(package, FileDescriptorProto(name=file_name, package=package, syntax="proto3"))
        entry = found.service.add(name=name)
        for method_name, method in service.methods.items():
            for kind in (method.request, method.reply):
                _add_file(pool, kind.DESCRIPTOR.file, known)
                if kind.DESCRIPTOR.file.name not in found.dependency:
                    found.dependency.append(kind.DESCRIPTOR.file.name)
            entry.method.add(
                name=method_name,
                input_type=f".{method.request.DESCRIPTOR.full_name}",
                output_type=f".{method.reply.DESCRIPTOR.full_name}",
                client_streaming=isinstance(method, Stream),
                server_streaming=isinstance(method, Stream | ServerStream),
            )
    for found in by_package.values():
        pool.Add(found)
    return pool


def _add_declaring_file(pool: DescriptorPool, service: Service, known: set[str]) -> bool:
    """Add the file of a service's messages if it declares the service itself."""
    file = next(iter(service.methods.values())).request.DESCRIPTOR.file
    if service.name not in {declared.full_name for declared in file.services_by_name.values()}:
        return False
    _add_file(pool, file, known)
    return True


def _add_file(pool: DescriptorPool, file: Any, known: set[str]) -> None:
    if file.name in known:
        return
    known.add(file.name)
    for needed in file.dependencies:
        _add_file(pool, needed, known)
    pool.AddSerializedFile(file.serialized_pb)

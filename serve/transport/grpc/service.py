# ruff: noqa: TID253
"""Service: one gRPC service as a table of its methods – served, and described to clients that ask by reflection.

The messages are of packages of ours, so that they never collide with the official ones in one process; the services
bear the official names. They are described in a pool of their own for the same reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from bookserve.errors import BookserveError, Failed, InvalidInput

logger = logging.getLogger("bookserve")

#: Seconds after which an idle stream looks whether the server drains.
PAUSE = 0.5

T = TypeVar("T")
#: The status of an error, and what is said about it.
ErrorStatus = Callable[[BookserveError], tuple[grpc.StatusCode, str]]


class Method(NamedTuple):
    """A method of one request and one reply: what answers it, and the messages it takes and gives."""

    answer: Callable[[Any], Awaitable[Message]]
    takes: type[Message]
    gives: type[Message]


class Stream(NamedTuple):
    """A method of many requests and many replies, for as long as both sides like."""

    answers: Callable[[AsyncIterator[Any]], AsyncIterator[Any]]
    takes: type[Message]
    gives: type[Message]


class Service(NamedTuple):
    """A service under its full name, such as ``inference.GRPCInferenceService``."""

    name: str
    methods: Mapping[str, Method | Stream]
    told: ErrorStatus

    def handler(self) -> grpc.GenericRpcHandler:
        """What answers calls to this service."""
        methods = {
            name: self._unary(method) if isinstance(method, Method) else self._stream(method)
            for name, method in self.methods.items()
        }
        return grpc.method_handlers_generic_handler(self.name, methods)

    def _unary(self, method: Method) -> grpc.RpcMethodHandler:
        """A method that ends with the status of whatever went wrong, a request that cannot be read included."""

        async def answered(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return (await method.answer(parse_message(method.takes, data))).SerializeToString()
            except Exception as error:
                code, message = self._blame(error)
            await context.abort(code, message)
            return b""  # not reached: abort raises

        return grpc.unary_unary_rpc_method_handler(answered)

    def _stream(self, method: Stream) -> grpc.RpcMethodHandler:
        async def answered(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            try:
                async for reply in method.answers(parse_message(method.takes, data) async for data in requests):
                    yield reply.SerializeToString()
                return
            except Exception as error:
                code, message = self._blame(error)
            await context.abort(code, message)

        return grpc.stream_stream_rpc_method_handler(answered)

    def _blame(self, error: Exception) -> tuple[grpc.StatusCode, str]:
        if not isinstance(error, BookserveError):
            logger.error("a call to %s failed", self.name, exc_info=error)
            error = Failed("the server made a mistake.", "Its log says more.")
        return self.told(error)


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
            if not (await asyncio.wait({coming}, timeout=PAUSE))[0]:
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
    """A pool that knows the services and their messages, and whatever else is in ``files``."""
    pool = DescriptorPool()
    known: set[str] = set()
    for file in files:
        _add(pool, file, known)
    by_package: dict[str, FileDescriptorProto] = {}
    for service in services:
        package, _, name = service.name.rpartition(".")
        file_name = f"{package.replace('.', '/')}.proto"
        found = by_package.setdefault(package, FileDescriptorProto(name=file_name, package=package, syntax="proto3"))
        entry = found.service.add(name=name)
        for method_name, method in service.methods.items():
            for kind in (method.takes, method.gives):
                _add(pool, kind.DESCRIPTOR.file, known)
                if kind.DESCRIPTOR.file.name not in found.dependency:
                    found.dependency.append(kind.DESCRIPTOR.file.name)
            entry.method.add(
                name=method_name,
                input_type=f".{method.takes.DESCRIPTOR.full_name}",
                output_type=f".{method.gives.DESCRIPTOR.full_name}",
                client_streaming=isinstance(method, Stream),
                server_streaming=isinstance(method, Stream),
            )
    for found in by_package.values():
        pool.Add(found)
    return pool


def _add(pool: DescriptorPool, file: Any, known: set[str]) -> None:
    if file.name in known:
        return
    known.add(file.name)
    for needed in file.dependencies:
        _add(pool, needed, known)
    pool.AddSerializedFile(file.serialized_pb)

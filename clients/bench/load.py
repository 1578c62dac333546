# ruff: noqa: TID253
"""Generate load: callers that send one prepared request repeatedly, each waiting for the answer before the next.

They use a plain socket for HTTP, and unparsed bytes for gRPC, so that they take little time from the server on the same
machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
import numpy as np

from bookserve.errors import Failed, NotReady
from bookserve.graph import Arrays

#: Sends the request once; returns the answer if it was refused, else ''.
Call = Callable[[], Awaitable[str]]
#: Connects a number of callers.
Connect = Callable[[int], AbstractAsyncContextManager[list[Call]]]

_LENGTH = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)  # not Inference-Header-Content-Length
_CHUNKED = re.compile(rb"\ntransfer-encoding: *chunked", re.IGNORECASE)


class Measurement(NamedTuple):
    """The result of some seconds of load: seconds of each answered request, number of refused requests, duration."""

    latencies: list[float]
    errors: int
    seconds: float


async def load(connect: Connect, callers: int, seconds: float) -> Measurement:
    """Let ``callers`` send requests for ``seconds``, each of them at least one.

    Raises:
        NotReady: no server answers, or a connection breaks.
        Failed: the first request is refused.
    """
    try:
        async with connect(callers) as calls:
            if refused := await calls[0]():
                raise Failed(f"the server refuses the request: {refused}")
            latencies: list[float] = []
            errors = 0

            async def work(call: Call) -> None:
                nonlocal errors
                ended = start
                while ended == start or ended < end:
                    begun = time.perf_counter()
                    refused = await call()
                    ended = time.perf_counter()
                    if refused:
                        errors += 1
                    else:
                        latencies.append(ended - begun)

            start = time.perf_counter()
            end = start + seconds
            await asyncio.gather(*map(work, calls))
            return Measurement(latencies, errors, time.perf_counter() - start)
    except (OSError, EOFError) as error:
        raise NotReady(f"the connection to the server broke: {error}.") from error


def http_callers(host: str, port: int, request: bytes) -> Connect:
    """Callers with one open connection each; ``request`` is a complete HTTP/1.1 request."""

    def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
        async def call() -> str:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await _read_body(reader, head)
            return "" if head.startswith(b"HTTP/1.1 200") else body.decode(errors="replace")

        return call

    @asynccontextmanager
    async def connect(callers: int) -> AsyncIterator[list[Call]]:
        streams = [await asyncio.open_connection(host, port) for _ in range(callers)]
        try:
            yield [caller(*stream) for stream in streams]
        finally:
            for _, writer in streams:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for _, writer in streams), return_exceptions=True)

    return connect


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body of an answer: of a known length, or in chunks, as long answers are sent (RFC 9112, section 7.1)."""
    length = _LENGTH.search(head)
    if length is not None:
        return await reader.readexactly(int(length[1]))
    if _CHUNKED.search(head) is None:
        raise Failed("the answer has neither Content-Length nor chunks; the benchmark cannot tell where it ends.")
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(chunks)


def grpc_callers(target: str, method: str, message: bytes) -> Connect:
    """Callers that share one channel; ``message`` is an encoded request of ``method``."""

    @asynccontextmanager
    async def connect(callers: int) -> AsyncIterator[list[Call]]:
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(target, options) as channel:
            send: Callable[[bytes], Awaitable[bytes]] = channel.unary_unary(method, None, None)

            async def call() -> str:
                try:
                    await send(message)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        raise NotReady(f"cannot reach grpc://{target}: {error.details()}.") from error
                    return str(error.details())
                return ""

            yield [call] * callers

    return connect


def rest_request(host: str, model: str, feeds: Arrays) -> bytes:
    """TensorFlow Serving's REST ``:predict`` in row form, as a complete HTTP request."""
    columns: dict[str, Any] = {name: _plain(array) for name, array in feeds.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    instances = rows if len(columns) > 1 else next(iter(columns.values()))
    body = json.dumps({"instances": instances}, separators=(",", ":")).encode()
    return http_request(host, f"/v1/models/{model}:predict", body, {"Content-Type": "application/json"})


def http_request(host: str, path: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """A complete HTTP/1.1 request."""
    lines = {"Host": host, **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def infer_request(model: str, feeds: Arrays) -> bytes:
    """An Open Inference Protocol ``ModelInferRequest`` with raw contents, encoded without protobuf.

    Source: field numbers of ``grpc_service.proto`` in the Open Inference Protocol.
    """
    message = _field(1, model.encode())
    for name, array in feeds.items():
        shape = b"".join(map(_varint, array.shape))
        message += _field(5, _field(1, name.encode()) + _field(2, _datatype(array).encode()) + _field(3, shape))
    return message + b"".join(_field(7, _raw(array)) for array in feeds.values())


def _plain(array: np.ndarray) -> Any:
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist() if array.dtype == object else array.tolist()


def _datatype(array: np.ndarray) -> str:
    family = {"O": "BYTES", "b": "BOOL", "f": "FP", "i": "INT", "u": "UINT"}[array.dtype.kind]
    return family if array.dtype.kind in "Ob" else f"{family}{array.dtype.itemsize * 8}"


def _raw(array: np.ndarray) -> bytes:
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(item)) + item for item in array.ravel())
    return array.tobytes()


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])

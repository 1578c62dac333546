# ruff: noqa: TID253
"""Read streamed texts with little overhead, for ``bookserve bench generate``.

The callers use a plain socket for HTTP and prepared requests for gRPC, because they share the machine with the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
import msgspec

from bookserve.api import native_pb2 as pb
from bookserve.errors import Failed, NotReady
from bookserve.generation.text import Piece

#: Requests one text and yields its pieces.
ReadText = Callable[[], AsyncIterator[str]]
#: Connects one caller.
ConnectReader = Callable[[], AbstractAsyncContextManager[ReadText]]


def http_text_streams(netloc: str, model: str, length: int) -> ConnectReader:
    """Callers with one open connection each that read the server-sent events of ``/api``."""
    body = msgspec.json.encode({"length": length, "temperature": 1.0, "stream": True})
    head = f"POST /api/models/{model}/generate HTTP/1.1\r\nHost: {netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    host, _, port = netloc.rpartition(":")
    piece = msgspec.json.Decoder(Piece)

    @asynccontextmanager
    async def stream() -> AsyncIterator[ReadText]:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError as error:
            raise NotReady(f"cannot reach http://{netloc}: {error}.") from error

        async def write() -> AsyncIterator[str]:
            writer.write(head.encode() + body)
            status = await reader.readuntil(b"\r\n\r\n")
            if not status.startswith(b"HTTP/1.1 200"):
                raise Failed(f"the server refuses the request: {status.splitlines()[0].decode()}")
            while True:
                line = await reader.readuntil(b"\n")
                if line.startswith(b'data: {"text"'):
                    yield piece.decode(line[6:]).text
                elif line.startswith(b"data: "):
                    break
            await reader.readuntil(b"0\r\n\r\n")  # the last chunk is empty

        try:
            yield write
        finally:
            writer.close()

    return stream


def grpc_text_streams(target: str, model: str, length: int) -> ConnectReader:
    """Callers with one channel each."""
    message = pb.GenerateRequest(model=model, length=length, temperature=1.0).SerializeToString()
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]

    @asynccontextmanager
    async def stream() -> AsyncIterator[ReadText]:
        async with grpc.aio.insecure_channel(target, options) as channel:
            method = channel.unary_stream("/bookserve.v1.Bookserve/Generate", None, pb.GenerateReply.FromString)
            state = channel.get_state(try_to_connect=True)
            while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
                await channel.wait_for_state_change(state)
                state = channel.get_state()  # if the server cannot be reached, the first call reports it

            async def write() -> AsyncIterator[str]:
                call = method(message)
                try:
                    async for reply in call:
                        yield reply.text
                except grpc.aio.AioRpcError as error:
                    kind = NotReady if error.code() is grpc.StatusCode.UNAVAILABLE else Failed
                    raise kind(f"grpc://{target} broke off: {error.details()}") from error
                finally:
                    call.cancel()

            yield write

    return stream

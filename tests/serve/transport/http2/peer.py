"""A builtin gRPC server with methods of its own, and a client made of the packages ``h2`` and ``hyperframe``.

Both run in the event loop of a test: ``async with serving() as (server, methods, port), connected(port) as peer``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import hyperframe.frame as hf

from serve.transport.http2.config import Config
from serve.transport.http2.server import Server

Fields = list[tuple[str, str]]


class Methods:
    """What is served: every kind of method, with a memory of what happened."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.go_on = asyncio.Event()

    async def echo(self, request: bytes, context: Any) -> bytes:
        """The request itself."""
        return request

    async def length(self, request: bytes, context: Any) -> bytes:
        """As many bytes as the request says."""
        return b"x" * int(request)

    async def wait(self, request: bytes, context: Any) -> bytes:
        """The request, once ``go_on`` is set."""
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return request

    async def fail(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("x-begun", "yes"),))
        await context.abort(
            grpc.StatusCode.NOT_FOUND, "no 100 % “frogs”\n", (("x-why", "none"), ("x-raw-bin", b"\0\xff"))
        )
        return b""

    async def boom(self, request: bytes, context: Any) -> bytes:
        raise ValueError("a secret")

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """So many messages of so many bytes, as the request ``messages bytes`` says."""
        messages, size = map(int, request.split())
        try:
            for index in range(messages):
                yield bytes([index % 256]) * size
        except GeneratorExit:
            self.cancelled += 1
            raise

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"+".join([request async for request in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request[::-1]

    def handler(self) -> grpc.GenericRpcHandler:
        """The service ``t.T``."""
        unary = grpc.unary_unary_rpc_method_handler
        names = ("echo", "length", "wait", "fail", "boom")
        handlers = {name: unary(getattr(self, name)) for name in names}
        handlers["count"] = grpc.unary_stream_rpc_method_handler(self.count)
        handlers["join"] = grpc.stream_unary_rpc_method_handler(self.join)
        handlers["chat"] = grpc.stream_stream_rpc_method_handler(self.chat)
        return grpc.method_handlers_generic_handler("t.T", handlers)


class Serving(NamedTuple):
    server: Server
    methods: Methods
    port: int


@asynccontextmanager
async def serving(config: Config = Config(), interceptors: Iterable[Any] = ()) -> AsyncIterator[Serving]:  # noqa: B008
    """A server of ``Methods`` on a free port of 127.0.0.1."""
    methods, server = Methods(), Server(config, list(interceptors))
    server.add_generic_rpc_handlers([methods.handler()])
    sock = socket.create_server(("127.0.0.1", 0))
    server.listen(sock)
    await server.start()
    try:
        yield Serving(server, methods, sock.getsockname()[1])
    finally:
        methods.go_on.set()
        await server.stop(None)


class Answer(NamedTuple):
    """How a call ended: headers, messages and trailers; ``reset`` is the error code where it was cut off."""

    headers: dict[str, str]
    messages: list[bytes]
    trailers: dict[str, str]
    reset: int | None

    @property
    def status(self) -> int:
        """gRPC's status."""
        return int((self.trailers or self.headers)["grpc-status"])


def framed(*messages: bytes, compressed: bool = False) -> bytes:
    """gRPC's messages as they stand in DATA frames."""
    return b"".join(bytes([compressed]) + len(message).to_bytes(4, "big") + message for message in messages)


def request_fields(method: str, *more: tuple[str, str]) -> Fields:
    """The headers of a call to ``t.T``."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/t.T/{method}"),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    ]


class Peer:
    """A client that the package ``h2`` keeps to the protocol: whatever the server does wrong is an exception."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.goaway: h2.events.ConnectionTerminated | None = None
        self._answers: dict[int, Answer] = {}
        self._data: dict[int, bytearray] = {}
        self._ended: set[int] = set()
        self.flush()

    def flush(self) -> None:
        """Send what ``h2`` wants to be sent."""
        self.writer.write(self.h2.data_to_send())

    def begin(self, fields: Fields, ended: bool = False) -> int:
        """Open a stream."""
        number = self.h2.get_next_available_stream_id()
        self._answers[number], self._data[number] = Answer({}, [], {}, None), bytearray()
        self.h2.send_headers(number, fields, end_stream=ended)
        self.flush()
        return int(number)

    async def send(self, number: int, data: bytes, ended: bool = True, piece: int = 16_384) -> None:
        """Send the content of a stream in pieces, as the server lets us."""
        for at in range(0, max(1, len(data)), piece):
            part = data[at : at + piece]
            while self.h2.local_flow_control_window(number) < len(part):
                await self.read()
            self.h2.send_data(number, part, end_stream=ended and at + piece >= len(data))
            self.flush()

    async def read(self, acknowledge: bool = True) -> None:
        """Take what the server has sent; its windows are filled up only where that is wanted."""
        data = await asyncio.wait_for(self.reader.read(65_536), 100)
        if not data:
            raise EOFError
        for event in self.h2.receive_data(data):
            number = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.ResponseReceived):
                self._answers[number] = self._answers[number]._replace(headers=dict(event.headers))
            elif isinstance(event, h2.events.TrailersReceived):
                self._answers[number] = self._answers[number]._replace(trailers=dict(event.headers))
            elif isinstance(event, h2.events.DataReceived):
                self._data[number] += event.data
                if acknowledge:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, number)
            elif isinstance(event, h2.events.StreamReset):
                self._answers[number] = self._answers[number]._replace(reset=int(event.error_code))
                self._ended.add(number)
            elif isinstance(event, h2.events.StreamEnded):
                self._ended.add(number)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event
        self.flush()

    async def answer(self, number: int) -> Answer:
        """How the call of a stream ends."""
        while number not in self._ended:
            await self.read()
        data, messages = self._data[number], []
        while data:
            length = int.from_bytes(data[1:5], "big")
            messages.append(bytes(data[5 : 5 + length]))
            del data[: 5 + length]
        return self._answers[number]._replace(messages=messages)

    async def call(self, method: str, *messages: bytes, more: Fields = [], piece: int = 16_384) -> Answer:  # noqa: B006
        """One call from its headers to its end."""
        number = self.begin(request_fields(method, *more))
        await self.send(number, framed(*messages), piece=piece)
        return await self.answer(number)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection before the event loop ends, though the server may not read what was written.

    Otherwise its socket is left to the garbage collector, whose warning fails whichever test runs then.
    """
    writer.close()
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def connected(port: int, window: int = 65_535) -> AsyncIterator[Peer]:
    """A client with so large a window for each stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer, window)
    finally:
        await close(writer)


class Raw:
    """A client that sends any frames at all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.encoder = hpack.Encoder()

    def greet(self) -> None:
        """What a client begins with."""
        self.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hf.SettingsFrame(0).serialize())

    def send(self, *frames: hf.Frame | bytes) -> None:
        """Send frames, made or written out."""
        self.writer.write(b"".join(one if isinstance(one, bytes) else one.serialize() for one in frames))

    def headers(self, number: int, fields: Fields, *flags: str) -> hf.HeadersFrame:
        """A HEADERS frame with a whole block; ``flags`` such as END_STREAM."""
        return hf.HeadersFrame(number, self.encoder.encode(fields), flags=["END_HEADERS", *flags])

    async def frame(self) -> hf.Frame:
        """The next frame that the server sends."""
        head = await asyncio.wait_for(self.reader.readexactly(9), 100)
        made, length = hf.Frame.parse_frame_header(memoryview(head))
        made.parse_body(memoryview(await self.reader.readexactly(length)))
        return made

    async def frames(self) -> list[hf.Frame]:
        """All frames until the server closes the connection."""
        data, found = memoryview(await asyncio.wait_for(self.reader.read(), 100)), []
        while data:
            made, length = hf.Frame.parse_frame_header(data[:9])
            made.parse_body(data[9 : 9 + length])
            found.append(made)
            data = data[9 + length :]
        return found


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """A client that may break every rule."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        await close(writer)

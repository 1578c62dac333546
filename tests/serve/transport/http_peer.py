"""A uvicorn server in the event loop of a test, and clients that send the bytes that they are given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request with these further header lines."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that answers with the body in brackets, which shows that it did; to /slow after 0.05 s."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    content = b"[%b]" % body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def serving(http: Any, app: Any = application, **options: Any) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server in this event loop and its port. ``http`` and ``options`` are those of ``uvicorn.Config``."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=http, log_config=None, lifespan="off", **options))
    task = asyncio.create_task(server._serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def ask(self, *parts: bytes) -> bytes:
        """Send ``parts`` one by one; the body of the next response."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if len(parts) > 1:
                await asyncio.sleep(0.002)  # so that they are read one by one
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        return await asyncio.wait_for(self._reader.read(), 30)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        client.writer.close()
        await client.writer.wait_closed()

"""An HTTP/1.1 client that records when a request was handed to the kernel, and from which port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from ledger import WrongAnswerError

#: Requests on one connection; then a new one is opened, so that new workers get requests, too.
REQUESTS_PER_CONNECTION = 200


class HttpClient:
    """One HTTP connection at a time, read and written directly."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._used = 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        #: When the kernel had the whole request.
        self.sent = float("inf")
        #: When the connection was opened, and from which port.
        self.opened, self.port = 0.0, 0

    async def open(self) -> None:
        """Open a new connection; a previous one is closed."""
        self.close()
        self.sent, self.opened, self.port = float("inf"), time.perf_counter(), 0
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.port = self.writer.get_extra_info("sockname")[1]

    def close(self) -> None:
        """Close the connection at once."""
        if self.writer:
            self.writer.transport.abort()
        self.reader = self.writer = None
        self._used = 0

    async def send(self, path: str, body: bytes, headers: str = "", method: str = "POST") -> int:
        """Send a request, read the head of its answer and return the status code."""
        self.sent = float("inf")
        self._used += 1
        if self.writer is None or self._used > REQUESTS_PER_CONNECTION:
            await self.open()
        assert self.writer and self.reader  # noqa: S101
        head = f"{method} {path} HTTP/1.1\r\nhost: soak\r\n{headers}content-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        self.sent = time.perf_counter()
        return await self.read_status()

    async def read_status(self) -> int:
        """Read the head of an answer and return the status code."""
        assert self.reader  # noqa: S101
        self._head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        return int(self._head[9:12])

    def header(self, name: bytes) -> bytes | None:
        """A header of the answer; ``name`` in small letters."""
        found = self._head.partition(b"\r\n%b: " % name)[2]
        return found.partition(b"\r\n")[0] if found else None

    async def body_chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        assert self.reader  # noqa: S101
        if (length := self.header(b"content-length")) is not None:
            yield await self.reader.readexactly(int(length))
        else:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        if self.header(b"connection") == b"close":
            self.close()

    async def post(self, path: str, body: bytes, headers: str = "") -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            WrongAnswerError: the status is not 200.
        """
        status = await self.send(path, body, headers)
        content = b"".join([chunk async for chunk in self.body_chunks()])
        if status != 200:
            raise WrongAnswerError(f"{path} gave {status}: {content[:200]!r}")
        return content

# ruff: noqa: TID253
"""Stream: one call on a connection – gRPC's messages in and out, and the windows that hold both back."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import grpc

from bookserve.errors import InvalidInput
from serve.transport.http.body import TooLarge, inflate
from serve.transport.http2 import frames
from serve.transport.http2.frames import Code
from serve.transport.http2.header_blocks import Head

if TYPE_CHECKING:
    from serve.transport.http2.connection import Connection

#: Bytes that a client may send on a stream before somebody takes them.
WINDOW = 2**20
#: A message begins with whether it is compressed, and its length.
PREFIX = 5


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """Ends a call with a status that no method chose."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Stream:
    """Messages of the client are taken by ``message``; ``begin``, ``send`` and ``end`` write the answer."""

    __slots__ = (
        "_connection",
        "_held",
        "_messages",
        "_owed",
        "_partial",
        "_room",
        "_tail",
        "_taken",
        "_unsent",
        "_waiting",
        "began",
        "closed",
        "ended",
        "fault",
        "head",
        "number",
        "window",
    )

    def __init__(self, connection: Connection, number: int, head: Head, window: int) -> None:
        self._connection = connection
        self.number = number
        self.head = head
        #: Bytes that the client lets us send.
        self.window = window
        #: Whether the client has said all; whether nothing more goes out; whether the answer's headers did.
        self.ended = self.closed = self.began = False
        #: What was wrong with what came in.
        self.fault: Refused | None = None
        self._messages: deque[tuple[int, bytes]] = deque()
        self._partial = bytearray()
        #: Bytes that may still come, of those that came how many were not given back, and how many lie in messages.
        self._room, self._owed, self._held = WINDOW, 0, 0
        self._waiting: asyncio.Future[None] | None = None
        self._unsent: deque[bytes | memoryview] = deque()
        self._tail: bytes | None = None
        self._taken: asyncio.Future[None] | None = None

    # What comes in

    def receive(self, data: bytes, length: int, last: bool) -> bool:
        """Take the content of a DATA frame of ``length`` bytes; False where the client had no room to send it."""
        self._room -= length
        if self._room < 0:
            return False
        self._owed += length
        if self.fault is None:
            self._gather(data)
        self.ended = last
        if last and self._partial and self.fault is None:
            self.fault = Refused(grpc.StatusCode.INTERNAL, "the request ends in the middle of a message.")
        if not last:
            self._give_back()
        self._wake()
        return True

    def whole(self) -> bool:
        """Whether nothing has to be waited for before a call of one message can be answered."""
        return self.ended or self.fault is not None

    async def message(self) -> bytes | None:
        """The next message, inflated; None after the last.

        Raises:
            Refused: it is too long, cut off, or compressed in a way that is not known here.
        """
        while not self._messages:
            if self.fault is not None:
                raise self.fault
            if self.ended:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        flag, message = self._messages.popleft()
        self._held -= len(message) + PREFIX
        if not self.ended:
            self._give_back()
        return self._inflated(message) if flag else message

    def _gather(self, data: bytes) -> None:
        size = len(data)
        if not self._partial and size >= PREFIX and int.from_bytes(data[1:PREFIX], "big") == size - PREFIX:
            if size - PREFIX > self._connection.limits.body:
                self._refuse(size - PREFIX)
            else:
                self._messages.append((data[0], data[PREFIX:]))
                self._held += size
            return
        partial = self._partial
        partial += data
        start = 0
        while len(partial) - start >= PREFIX:
            length = int.from_bytes(partial[start + 1 : start + PREFIX], "big")
            if length > self._connection.limits.body:
                self._refuse(length)
                return
            end = start + PREFIX + length
            if len(partial) < end:
                break
            with memoryview(partial) as view:
                self._messages.append((partial[start], bytes(view[start + PREFIX : end])))
            self._held += end - start
            start = end
        del partial[:start]

    def _refuse(self, length: int) -> None:
        limit = self._connection.limits.body
        self.fault = Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({length} vs. {limit})"
        )
        self._partial.clear()

    def _give_back(self) -> None:
        """Let the client send as much again as was taken, or as belongs to a message that is not whole yet."""
        spent = self._owed - self._held
        if spent >= WINDOW // 2 and not self.closed:
            self._owed -= spent
            self._room += spent
            self._connection.write(frames.window_update(self.number, spent))

    def _inflated(self, message: bytes) -> bytes:
        try:
            return inflate(message, self.head.encoding, self._connection.limits.inflated)
        except TooLarge as error:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from error
        except InvalidInput as error:
            unknown = self.head.encoding not in ("gzip", "deflate")
            code = grpc.StatusCode.UNIMPLEMENTED if unknown else grpc.StatusCode.INTERNAL
            raise Refused(code, str(error)) from error

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # What goes out

    def begin(self, block: bytes) -> None:
        """Send the headers of an answer."""
        self.began = True
        if not self.closed:
            self._connection.write(frames.frame(frames.HEADERS, frames.END_HEADERS, self.number, block))

    def answer(self, block: bytes, message: bytes, tail: bytes) -> None:
        """Send headers, one message and the status; in one go where the windows allow."""
        size, connection = len(message) + PREFIX, self._connection
        if self.closed:
            return
        if self.began or size > self.window or not connection.open_for(size):
            if not self.began:
                self.begin(block)
            self.send(message)
            self.end(tail)
            return
        connection.window -= size
        number = self.number.to_bytes(4, "big")
        connection.write(
            b"".join(
                (
                    len(block).to_bytes(3, "big") + b"\x01\x04",  # HEADERS, END_HEADERS
                    number,
                    block,
                    size.to_bytes(3, "big") + b"\x00\x00",  # DATA
                    number,
                    b"\0" + (size - PREFIX).to_bytes(4, "big"),
                    message,
                    len(tail).to_bytes(3, "big") + b"\x01\x05",  # HEADERS, END_HEADERS and END_STREAM
                    number,
                    tail,
                )
            )
        )
        self._finish()

    def send(self, message: bytes) -> None:
        """Send one message, as the windows allow; ``drained`` tells when it is gone."""
        if not self.closed:
            self._unsent.append(b"\0" + len(message).to_bytes(4, "big") + message)
            self.pump()

    def end(self, tail: bytes) -> None:
        """Send the status after whatever is still to be sent."""
        if not self.closed:
            self._tail = tail
            self.pump()

    async def drained(self) -> None:
        """Wait until all messages are gone, or nobody takes them any more."""
        while self._unsent and not self.closed:
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken

    def pump(self) -> None:
        """Send what the windows allow."""
        connection = self._connection
        while self._unsent and not self.closed:
            most = min(self.window, connection.window, connection.frame_size)
            if most <= 0 or connection.paused:
                connection.blocked[self.number] = self
                return
            piece = self._unsent.popleft()
            if len(piece) > most:
                piece = memoryview(piece)  # its parts are no copies
                self._unsent.appendleft(piece[most:])
                piece = piece[:most]
            self.window -= len(piece)
            connection.window -= len(piece)
            connection.write(frames.frame(frames.DATA, 0, self.number, piece))
            connection.earn()  # for the WINDOW_UPDATE that it brings about
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        if self._tail is not None and not self.closed:
            connection.write(
                frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, self.number, self._tail)
            )
            self._finish()

    def reset(self, code: Code) -> None:
        """End the stream without a status."""
        if not self.closed:
            self._connection.write(frames.reset(self.number, code))
            self.close()

    def close(self) -> None:
        """Nothing more goes in or out."""
        self.closed = True
        self._unsent.clear()
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        self._connection.forget(self)

    def _finish(self) -> None:
        """After the status: a client that has not said all is told that nobody listens."""
        if not self.ended:
            self._connection.write(frames.reset(self.number, Code.NO_ERROR))
        self.close()

"""A connection of the builtin gRPC server in memory: frames go in as bytes, and what the server does is read back.

No socket and no server: a case takes about a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import hpack

from serve.transport.http2.call import Call
from serve.transport.http2.config import Config
from serve.transport.http2.connection import Connection
from serve.transport.http2.held_bytes import HeldBytes
from serve.transport.http2.server import Server
from tests.serve.transport.http2.peer import Fields, request_fields

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITISED = 0x4, 0x8, 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame with any content at all."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(a.to_bytes(2, "big") + b.to_bytes(4, "big") for a, b in pairs))


def window(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def message(content: bytes = b"frog") -> bytes:
    """A message of gRPC."""
    return b"\0" + len(content).to_bytes(4, "big") + content


def fields(method: str = "echo", *more: tuple[str, str]) -> Fields:
    """The head of a call to ``t.T``."""
    return request_fields(method, *more)


def literal(head: Fields) -> bytes:
    """A header block that needs no table: literals without indexing, without Huffman's code."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*one) for one in head], huffman=False)


def open_call(stream: int = 1, method: str = "echo", *more: tuple[str, str], flags: int = 0) -> bytes:
    """The HEADERS frame of a call whose request follows."""
    return frame(HEADERS, END_HEADERS | flags, stream, literal(fields(method, *more)))


def call(stream: int = 1, method: str = "echo", *more: tuple[str, str]) -> bytes:
    """A whole call."""
    return open_call(stream, method, *more) + frame(DATA, END_STREAM, stream, message())


def block_call(block: bytes, stream: int = 1) -> bytes:
    """A whole call whose head is the header block."""
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, message())


async def _echo(request: bytes, context: Any) -> bytes:
    return request


async def _seen(request: bytes, context: Any) -> bytes:
    """The metadata that the method sees."""
    return "\n".join(f"{name}={value}" for name, value in context.invocation_metadata()).encode()


async def _wait(request: bytes, context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


async def _ignore(requests: AsyncIterator[bytes], context: Any) -> bytes:
    """Reads no message."""
    return await _wait(b"", context)


async def _join(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b"+".join([one async for one in requests])


METHODS = {
    "echo": grpc.unary_unary_rpc_method_handler(_echo),
    "seen": grpc.unary_unary_rpc_method_handler(_seen),
    "wait": grpc.unary_unary_rpc_method_handler(_wait),
    "ignore": grpc.stream_unary_rpc_method_handler(_ignore),
    "join": grpc.stream_unary_rpc_method_handler(_join),
}


class Memory(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = False

    def write(self, data: Any) -> None:
        assert not self.ended, "written after the end"
        self.written += data

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True


class Seen:
    """What a server did."""

    def __init__(self, written: bytes, ended: bool) -> None:
        self.ended = ended
        #: Type, flags, stream and payload of each frame.
        self.frames: list[tuple[int, int, int, bytes]] = []
        at = 0
        while at < len(written):
            length = int.from_bytes(written[at : at + 3], "big")
            stream = int.from_bytes(written[at + 5 : at + 9], "big")
            self.frames.append((written[at + 3], written[at + 4], stream, written[at + 9 : at + 9 + length]))
            at += 9 + length
        assert at == len(written), "the last frame is cut off"

    def goaway(self) -> int | None:
        """The error code with which the connection ended."""
        codes = [int.from_bytes(data[4:8], "big") for kind, _, _, data in self.frames if kind == GOAWAY]
        return codes[-1] if codes else None

    def resets(self) -> dict[int, int]:
        """The error codes of streams that were ended; the end of an answered one (NO_ERROR) is none."""
        found = ((stream, int.from_bytes(data, "big")) for kind, _, stream, data in self.frames if kind == RST_STREAM)
        return {stream: code for stream, code in found if code}

    def headers(self, wanted: int) -> list[dict[str, str]]:
        """The header blocks of a stream, decoded in the order of the connection."""
        decoder, found = hpack.Decoder(), []
        for kind, _, stream, data in self.frames:
            if kind == HEADERS:
                block = dict(decoder.decode(data))
                if stream == wanted:
                    found.append(block)
        return found

    def answer(self, wanted: int) -> tuple[str, str, bytes] | None:
        """HTTP's status, gRPC's status and the content of the answer on a stream; None without one."""
        blocks = self.headers(wanted)
        if not blocks:
            return None
        data = b"".join(data for kind, _, stream, data in self.frames if kind == DATA and stream == wanted)
        return blocks[0][":status"], blocks[-1].get("grpc-status", ""), data[5:]

    def pings(self) -> list[bytes]:
        """The payloads of the PING frames that were answered."""
        return [data for kind, flags, _, data in self.frames if kind == PING and flags & ACK]

    def acknowledged_settings(self) -> int:
        return sum(kind == SETTINGS and bool(flags & ACK) for kind, flags, _, _ in self.frames)


async def converse(*sent: bytes, config: Config) -> Seen:
    """What a connection does with bytes that come in these pieces."""
    server = Server(config)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t.T", METHODS)])
    transport = Memory()
    held = HeldBytes(2**30)
    made = Connection(config, partial(Call, server.find_handler), lambda _: None, lambda _: None, held)
    made.connection_made(transport)
    for piece in sent:
        if transport.ended:
            break
        made.data_received(piece)
        for _ in range(15):  # methods run in tasks
            await asyncio.sleep(0)
    seen = Seen(bytes(transport.written), transport.ended)
    made.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert held.count == 0
    return seen

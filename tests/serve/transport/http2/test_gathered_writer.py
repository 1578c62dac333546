"""Short answers of one turn of the event loop are sent together, and nothing overtakes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serve.transport.http2.gathered_writer import _MAX_GATHERED, GatheredWriter


class Recorded(asyncio.WriteTransport):
    """A transport that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.ended


Scene = Callable[[GatheredWriter, Recorded], Awaitable[None]]


async def one_turn(writer: GatheredWriter, transport: Recorded) -> None:
    for name in (b"a", b"b", b"c"):
        writer.write_soon(name)
    assert transport.writes == []
    await asyncio.sleep(0)
    assert transport.writes == [b"abc"]
    writer.write_soon(b"d")
    await asyncio.sleep(0)
    assert transport.writes == [b"abc", b"d"]


async def order(writer: GatheredWriter, transport: Recorded) -> None:
    writer.write_soon(b"a")
    writer.write(b"b")
    writer.write_soon(b"c")
    await asyncio.sleep(0)
    assert transport.writes == [b"a", b"b", b"c"]


async def long_ones(writer: GatheredWriter, transport: Recorded) -> None:
    """No more than so many bytes wait, so that the transport's flow control counts them."""
    writer.write_soon(b"a" * _MAX_GATHERED)
    writer.write_soon(b"b")
    assert transport.writes == [b"a" * _MAX_GATHERED, b"b"]
    writer.write_soon(b"c" * (_MAX_GATHERED + 1))
    assert transport.writes[2:] == [b"c" * (_MAX_GATHERED + 1)]
    writer.write_soon(b"d")
    await asyncio.sleep(0)
    assert transport.writes[3:] == [b"d"]


async def ended(writer: GatheredWriter, transport: Recorded) -> None:
    """The client has gone: what waits is dropped, and the loop reports no error."""
    writer.write_soon(b"a")
    transport.ended = True
    await asyncio.sleep(0)
    assert transport.writes == []


@pytest.mark.parametrize("scene", [one_turn, order, long_ones, ended])
def test_frames(scene: Scene) -> None:
    async def run() -> None:
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        transport = Recorded()
        await scene(GatheredWriter(transport, asyncio.get_running_loop()), transport)
        assert not errors

    asyncio.run(run())

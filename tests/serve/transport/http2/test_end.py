"""Shutdown of the builtin gRPC server: accepted calls are answered, and GOAWAY tells clients which were not."""

from __future__ import annotations

import asyncio

import grpc
import hyperframe.frame as hf
import pytest

from tests.serve.transport.http2.peer import Raw, framed, raw, request_fields, serving


async def next_of(peer: Raw, kind: type[hf.Frame]) -> hf.Frame:
    while not isinstance(found := await peer.frame(), kind):
        pass
    return found


def data(number: int, message: bytes) -> hf.DataFrame:
    return hf.DataFrame(number, framed(message), flags=["END_STREAM"])


def test_calls_sent_before_the_client_has_read_goaway_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.transport.http2.connection.SHUTDOWN_PING_TIMEOUT", 100.0)

    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            peer.send(peer.headers(1, request_fields("wait")), data(1, b"to the end"))
            while not served.methods.begun:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(served.server.stop(20))
            told = await next_of(peer, hf.GoAwayFrame)
            assert (told.last_stream_id, told.error_code) == (2**31 - 1, 0)
            ping = await next_of(peer, hf.PingFrame)
            peer.send(peer.headers(3, request_fields("echo")), data(3, b"just in time"))
            peer.send(hf.PingFrame(0, ping.opaque_data, flags=["ACK"]))
            found: dict[type[hf.Frame], hf.Frame] = {}
            while not {hf.GoAwayFrame, hf.DataFrame} <= found.keys():  # in either order
                one = await peer.frame()
                found[type(one)] = one
            told, answer = found[hf.GoAwayFrame], found[hf.DataFrame]
            assert (told.last_stream_id, told.error_code) == (3, 0)
            assert (answer.stream_id, answer.data) == (3, framed(b"just in time"))
            peer.send(peer.headers(5, request_fields("echo")), data(5, b"too late"))
            assert not stopping.done()
            served.methods.go_on.set()
            rest = await peer.frames()
            assert [one.data for one in rest if isinstance(one, hf.DataFrame)] == [framed(b"to the end")]
            peer.writer.close()
            await stopping

    asyncio.run(whole())


def test_a_client_that_does_not_acknowledge_the_ping_is_not_waited_for() -> None:
    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            await next_of(peer, hf.SettingsFrame)
            stopping = asyncio.create_task(served.server.stop(60))
            told = [one for one in await peer.frames() if isinstance(one, hf.GoAwayFrame)]
            assert [one.last_stream_id for one in told] == [2**31 - 1, 0]
            peer.writer.close()
            await asyncio.wait_for(stopping, 30)

    asyncio.run(whole())


def test_a_call_of_grpcios_client_is_finished() -> None:
    async def whole() -> None:
        async with serving() as served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = channel.unary_unary("/t.T/wait")(b"to the end")
            while not served.methods.begun:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(served.server.stop(20))
            await asyncio.sleep(0.1)
            served.methods.go_on.set()
            assert await call == b"to the end"
            await asyncio.wait_for(stopping, 30)

    asyncio.run(whole())


def test_calls_end_after_the_grace_period() -> None:
    async def whole() -> None:
        async with serving() as served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = channel.unary_unary("/t.T/wait")(b"")
            while not served.methods.begun:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(served.server.stop(0.3))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "the server stopped."
            await stopping
            assert served.methods.cancelled == 1

    asyncio.run(whole())


def test_no_connection_is_left_open_though_its_client_reads_nothing() -> None:
    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            peer.send(hf.WindowUpdateFrame(0, 2**31 - 1 - 65_535), hf.SettingsFrame(0, settings={4: 2**31 - 1}))
            peer.send(peer.headers(1, request_fields("length")), data(1, b"90000000"))
            while not any(connection.paused for connection in served.server.connections):
                await asyncio.sleep(0.01)
            await served.server.stop(None)
            assert not served.server.connections

    asyncio.run(whole())


def test_a_stopped_server_refuses_connections() -> None:
    async def whole() -> None:
        async with serving() as served:
            await served.server.stop(None)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", served.port)

    asyncio.run(whole())

"""What clients of gRPC expect beside answers: table sizes, large heads, compression, and grpcio's ServicerContext."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import hpack
import hyperframe.frame as hf
import pytest

from serve.transport.http2.config import Config
from serve.transport.http2.server import Server
from tests.serve.transport.http2.peer import Raw, framed, raw, request_fields, serving

Handler = grpc.RpcMethodHandler


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def value(name: int, number: int) -> bytes:
    return name.to_bytes(2, "big") + number.to_bytes(4, "big")


async def blocks(peer: Raw, number: int) -> list[bytes]:
    """The header blocks of a stream until it ends, joined from HEADERS and CONTINUATION."""
    found: list[bytes] = []
    ended = False
    while True:
        one = await peer.frame()
        if one.stream_id != number or not isinstance(one, hf.HeadersFrame | hf.ContinuationFrame):
            continue
        ended = ended or "END_STREAM" in one.flags
        found.append(one.data) if isinstance(one, hf.HeadersFrame) else found.__setitem__(-1, found[-1] + one.data)
        if ended and "END_HEADERS" in one.flags:
            return found


@pytest.mark.parametrize(
    ("sizes", "updated"),
    [
        ([], False),
        ([value(1, 4096)], False),
        ([value(1, 65_536)], False),
        ([value(1, 0)], True),
        ([value(1, 1024)], True),
        ([value(1, 0) + value(1, 4096)], True),  # RFC 7541, 4.2: the smallest in between counts
        ([value(1, 8192), value(1, 5000)], True),
        ([value(3, 1), value(4, 65_535) + value(9, 9)], False),
    ],
)
def test_a_smaller_header_table_opens_the_next_block(sizes: list[bytes], updated: bool) -> None:
    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            peer.send(*[frame(4, 0, 0, payload) for payload in sizes])
            decoder = hpack.Decoder()
            for number in (1, 3):
                peer.send(peer.headers(number, request_fields("echo")), frame(0, 1, number, framed(b"x")))
                first, last = await blocks(peer, number)
                assert first.startswith(b"\x20") == (updated and number == 1)
                if updated:
                    decoder.max_allowed_table_size = 0
                assert (":status", "200") in decoder.decode(first)
                assert decoder.decode(last) == [("grpc-status", "0")]
            peer.send(frame(4, 0, 0, value(1, 0)), peer.headers(5, request_fields("croak"), "END_STREAM"))
            smaller = sizes != [value(1, 0)]
            assert (await blocks(peer, 5))[0].startswith(b"\x20") == smaller  # in an answer of headers alone, too

    asyncio.run(whole())


def test_settings_that_come_twice_are_taken_in_their_order() -> None:
    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            peer.send(frame(4, 0, 0, value(4, 3) + value(4, 20) + value(5, 20_000) + value(5, 16_384)))
            peer.send(peer.headers(1, request_fields("length")), frame(0, 1, 1, framed(b"30")))
            while not isinstance(found := await peer.frame(), hf.DataFrame):
                pass
            assert len(found.data) == 20

    asyncio.run(whole())


@pytest.mark.parametrize(
    "payload", [value(4, 2**31) + value(4, 5), value(5, 1) + value(5, 16_384), value(2, 7) + value(2, 0)]
)
def test_a_wrong_value_is_wrong_though_a_right_one_follows(payload: bytes) -> None:
    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            peer.send(frame(4, 0, 0, payload))
            assert any(isinstance(one, hf.GoAwayFrame) and one.error_code for one in await peer.frames())

    asyncio.run(whole())


# Methods as grpcio's documentation has them


async def metadata_first(request: bytes, context: Any) -> bytes:
    await context.send_initial_metadata((("x-size", "y" * int(request)),))
    with pytest.raises(grpc.aio.UsageError):
        await context.send_initial_metadata(())
    await asyncio.Event().wait()
    return b""


async def code_then_raise(request: bytes, context: Any) -> bytes:
    context.set_code(grpc.StatusCode.DATA_LOSS)
    context.set_details("as told")
    raise ValueError


def not_implemented(request: bytes, context: Any) -> bytes:
    """What generated base classes have."""
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not implemented!")
    raise NotImplementedError("Method not implemented!")


def synchronous(request: bytes, context: Any) -> bytes:
    context.send_initial_metadata((("x-begun", "yes"),))
    if request == b"stop":
        context.abort(grpc.StatusCode.ABORTED, "stopped")
    return request + (b"!" if context.is_active() and context.time_remaining() > 1 else b"?")


def synchronous_stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        yield request * 2


async def compressed(request: bytes, context: Any) -> AsyncIterator[bytes]:
    context.set_compression(grpc.Compression.Gzip)
    yield request * 1000
    context.disable_next_message_compression()
    yield request


async def reads_and_writes(_: Any, context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message[::-1])


async def facts(request: bytes, context: Any) -> bytes:
    ended: list[bool] = []
    context.add_done_callback(lambda one: ended.append(one.done()))
    context.set_trailing_metadata((("x-t", "1"),))
    assert context.trailing_metadata() == (("x-t", "1"),)
    assert (context.details(), context.code(), context.cancelled(), context.done()) == ("", None, False, False)
    assert (context.peer_identities(), context.peer_identity_key(), context.auth_context()) == (None, None, {})
    assert context.time_remaining() is None or 0 < context.time_remaining() <= 100
    return b"ok"


@asynccontextmanager
async def methods() -> AsyncIterator[int]:
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    names = (metadata_first, code_then_raise, not_implemented, synchronous, facts)
    handlers: dict[str, Handler] = {one.__name__: unary(one) for one in names}
    handlers["synchronous_stream"] = stream(synchronous_stream)
    handlers["reads_and_writes"] = stream(reads_and_writes)
    handlers["compressed"] = grpc.unary_stream_rpc_method_handler(compressed)
    server = Server(Config())
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t.T", handlers)])
    sock = socket.create_server(("127.0.0.1", 0))
    server.listen(sock)
    await server.start()
    try:
        yield sock.getsockname()[1]
    finally:
        await server.stop(None)


def test_grpcios_client_finds_what_it_expects() -> None:
    async def whole() -> None:
        async with methods() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            def unary(name: str, request: bytes) -> Any:
                return channel.unary_unary(f"/t.T/{name}")(request, timeout=50)

            for name, request, code, details in [
                ("code_then_raise", b"", grpc.StatusCode.DATA_LOSS, "as told"),
                ("not_implemented", b"", grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!"),
                ("synchronous", b"stop", grpc.StatusCode.ABORTED, "stopped"),
            ]:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await unary(name, request)
                assert (caught.value.code(), caught.value.details()) == (code, details)
            call = unary("synchronous", b"go")
            assert await call == b"go!"
            assert ("x-begun", "yes") in tuple(await call.initial_metadata())
            call = unary("facts", b"")
            assert await call == b"ok"
            assert ("x-t", "1") in tuple(await call.trailing_metadata())
            for name, expected in [("synchronous_stream", [b"abab", b"cc"]), ("reads_and_writes", [b"ba", b"c"])]:
                both = channel.stream_stream(f"/t.T/{name}")(iter([b"ab", b"c"]))
                assert [one async for one in both] == expected
            packed = channel.unary_stream("/t.T/compressed")(b"frog")
            assert [one async for one in packed] == [b"frog" * 1000, b"frog"]

    asyncio.run(whole())


@pytest.mark.parametrize("accepted", ["identity, deflate, gzip", "identity"])
def test_answers_are_compressed_only_for_clients_that_read_them(accepted: str) -> None:
    async def whole() -> None:
        async with methods() as port, raw(port) as peer:
            peer.greet()
            peer.send(peer.headers(1, request_fields("compressed", ("grpc-accept-encoding", accepted))))
            peer.send(frame(0, 1, 1, framed(b"frog")))
            decoder, data, head = hpack.Decoder(), b"", {}
            while not (isinstance(found := await peer.frame(), hf.HeadersFrame) and "END_STREAM" in found.flags):
                if isinstance(found, hf.HeadersFrame):
                    head = dict(decoder.decode(found.data))
                elif isinstance(found, hf.DataFrame):
                    data += found.data
            size = int.from_bytes(data[1:5], "big")
            packed, rest = data[5 : 5 + size], data[5 + size :]
            if accepted == "identity":
                assert "grpc-encoding" not in head
                assert (data[0], packed) == (0, b"frog" * 1000)
            else:
                assert (head["grpc-encoding"], data[0]) == ("gzip", 1)
                assert zlib.decompress(packed, 16 + zlib.MAX_WBITS) == b"frog" * 1000
            assert rest == framed(b"frog")

    asyncio.run(whole())


@pytest.mark.parametrize("size", [5, 20_000, 50_000])
def test_initial_metadata_is_sent_at_once_in_as_many_frames_as_it_needs(size: int) -> None:
    async def whole() -> None:
        async with methods() as port, raw(port) as peer:
            peer.greet()
            peer.send(peer.headers(1, request_fields("metadata_first")), frame(0, 1, 1, framed(str(size).encode())))
            pieces: list[hf.Frame] = []
            while not pieces or "END_HEADERS" not in pieces[-1].flags:
                found = await peer.frame()
                if found.stream_id == 1:
                    pieces.append(found)
            assert [type(one) for one in pieces] == [hf.HeadersFrame, *[hf.ContinuationFrame] * (size // 16_384)]
            head = hpack.Decoder(max_header_list_size=100_000).decode(b"".join(one.data for one in pieces))
            assert ("x-size", "y" * size) in head

    asyncio.run(whole())

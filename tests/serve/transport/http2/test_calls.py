"""The builtin gRPC server beside a client that the package ``h2`` keeps to the protocol."""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.transport.http2.config import Config
from tests.serve.transport.http2.peer import Peer, Serving, connected, framed, request_fields, serving

SMALL = Config(
    max_message_size=100_000, max_decompressed_size=200_000, max_header_list_size=4096, max_concurrent_streams=4
)


def talk(test: Callable[[Serving, Peer], Awaitable[None]], config: Config = SMALL, window: int = 65_535) -> None:
    """Run ``test`` with a fresh server and a client of it."""

    async def whole() -> None:
        async with serving(config) as served, connected(served.port, window) as peer:
            await test(served, peer)

    asyncio.run(whole())


def test_every_kind_of_method() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        echoed = await peer.call("echo", b"frog")
        assert (echoed.messages, echoed.status) == ([b"frog"], 0)
        assert echoed.headers == {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-accept-encoding": "identity, deflate, gzip",
        }
        counted = await peer.call("count", b"3 2")
        assert (counted.messages, counted.status) == ([b"\0\0", b"\1\1", b"\2\2"], 0)
        assert (await peer.call("join", b"a", b"", b"bc")).messages == [b"a++bc"]
        assert (await peer.call("join")).messages == [b""]
        assert (await peer.call("chat", b"ab", b"cd")).messages == [b"ba", b"dc"]

    talk(test)


@given(
    messages=st.lists(st.binary(max_size=300), max_size=5),
    piece=st.integers(1, 400),
    window=st.integers(0, 700),
)
@settings(max_examples=60, deadline=None)
def test_messages_arrive_whole_however_they_are_cut_and_however_small_the_windows(
    messages: list[bytes], piece: int, window: int
) -> None:
    async def test(_: Serving, peer: Peer) -> None:
        number = peer.begin(request_fields("chat"))
        await peer.send(number, framed(*messages), piece=piece)
        if not window:  # it is opened later
            peer.h2.increment_flow_control_window(10_000, number)
            peer.flush()
        answer = await peer.answer(number)
        assert answer.messages == [message[::-1] for message in messages]
        assert answer.status == 0

    talk(test, window=window)


def test_an_answer_larger_than_every_window() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        answer = await peer.call("length", b"3000000")
        assert [len(message) for message in answer.messages] == [3_000_000]

    talk(test)


def test_a_request_larger_than_the_first_window() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        body = bytes(range(256)) * 20_000
        assert (await peer.call("echo", body)).messages == [body]
        assert (await peer.call("join", *[b"y" * 100_000] * 40)).messages == [b"+".join([b"y" * 100_000] * 40)]

    talk(test, Config())


def test_a_stream_without_window_does_not_block_others() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        shut = peer.begin(request_fields("length"))
        await peer.send(shut, framed(b"500"))
        peer.h2.update_settings({4: 65_535})  # for the next one, and 100 bytes more for the first
        peer.flush()
        assert (await peer.call("echo", b"quick")).messages == [b"quick"]
        assert [len(message) for message in (await peer.answer(shut)).messages] == [500]

    talk(test, window=100)


def test_a_client_that_takes_nothing_is_sent_no_more_than_its_window() -> None:
    async def test(served: Serving, peer: Peer) -> None:
        number = peer.begin(request_fields("count"))
        await peer.send(number, framed(b"1000 1000"))
        for _ in range(2):
            await peer.read(acknowledge=False)
        peer.h2.reset_stream(number, 8)
        peer.flush()
        assert (await peer.call("echo", b"next")).messages == [b"next"]
        assert served.methods.cancelled == 1

    talk(test, window=3000)


def test_a_window_update_for_every_message_of_a_long_stream_is_no_flood() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        assert len((await peer.call("count", b"5000 10")).messages) == 5000

    talk(test)


def test_how_calls_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def test(_: Serving, peer: Peer) -> None:
        failed = await peer.call("fail", b"")
        assert failed.status == grpc.StatusCode.NOT_FOUND.value[0]
        assert failed.messages == []
        assert unquote(failed.trailers["grpc-message"]) == "no 100 % “frogs”\n"
        assert (failed.headers["x-begun"], failed.trailers["x-why"]) == ("yes", "none")
        assert failed.trailers["x-raw-bin"] == "AP8="
        broken = await peer.call("boom", b"")
        assert broken.status == grpc.StatusCode.UNKNOWN.value[0]
        assert "secret" not in broken.headers["grpc-message"]
        unknown = await peer.call("croak", b"")
        assert (unknown.status, unknown.headers["grpc-message"]) == (12, "Method not found!")

    with caplog.at_level(logging.CRITICAL, "http2"):
        talk(test)


@pytest.mark.parametrize(
    ("method", "content", "status"),
    [
        ("echo", b"", 13),
        ("echo", framed(b"a", b"b"), 13),
        ("echo", framed(b"abc")[:-1], 13),
        ("echo", b"\0\0", 13),
        ("join", framed(b"abc")[:-1], 13),
        ("echo", framed(b"z" * 100_001), 8),
        ("chat", framed(b"z" * 100_001), 8),
        ("echo", b"\0\xff\xff\xff\xff", 8),
        ("echo", framed(b"not packed", compressed=True), 12),
    ],
)
def test_content_that_is_no_request(method: str, content: bytes, status: int) -> None:
    async def test(_: Serving, peer: Peer) -> None:
        number = peer.begin(request_fields(method))
        await peer.send(number, content)
        assert (await peer.answer(number)).status == status
        assert (await peer.call("echo", b"next")).messages == [b"next"]

    talk(test)


def test_a_call_can_be_refused_before_its_request_is_complete() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        number = peer.begin(request_fields("croak"))
        answer = await peer.answer(number)
        assert answer.status == 12
        number = peer.begin(request_fields("echo"))
        await peer.send(number, framed(b"z" * 100_001)[:5], ended=False)
        assert (await peer.answer(number)).status == 8

    talk(test)


@pytest.mark.parametrize(
    ("encoding", "packed", "status"),
    [
        ("gzip", gzip.compress(b"frog" * 1000, mtime=0), 0),
        ("deflate", zlib.compress(b"frog" * 1000), 0),
        ("gzip", gzip.compress(b"frog" * 1000, mtime=0)[:-9], 13),
        ("gzip", b"nothing of the kind", 13),
        ("gzip", gzip.compress(b"\0" * 200_001, mtime=0), 8),
        ("br", b"?", 12),
    ],
)
def test_compressed_requests(encoding: str, packed: bytes, status: int) -> None:
    async def test(_: Serving, peer: Peer) -> None:
        number = peer.begin(request_fields("echo", ("grpc-encoding", encoding)))
        await peer.send(number, framed(packed, compressed=True))
        answer = await peer.answer(number)
        assert answer.status == status
        assert answer.messages == ([b"frog" * 1000] if status == 0 else [])

    talk(test)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({":method": "GET"}, "405"),
        ({"content-type": "application/json"}, "415"),
        ({"content-type": "application/grpcx"}, "415"),
        ({"content-type": "application/grpc+proto"}, "200"),
        ({"content-type": "application/grpc;v=1"}, "200"),
    ],
)
def test_requests_that_are_not_grpc_get_an_http_status(change: dict[str, str], status: str) -> None:
    async def test(_: Serving, peer: Peer) -> None:
        number = peer.begin([(name, change.get(name, value)) for name, value in request_fields("echo")])
        await peer.send(number, framed(b""))
        assert (await peer.answer(number)).headers[":status"] == status

    talk(test)


def test_deadlines() -> None:
    async def test(served: Serving, peer: Peer) -> None:
        late = await peer.call("wait", b"", more=[("grpc-timeout", "50m")])
        assert late.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        await asyncio.sleep(0)
        assert (served.methods.begun, served.methods.cancelled) == (1, 1)
        number = peer.begin(request_fields("echo", ("grpc-timeout", "20000u")))  # whose request never comes
        assert (await peer.answer(number)).status == 4
        assert (await peer.call("echo", b"in time", more=[("grpc-timeout", "99999999H")])).messages == [b"in time"]

    talk(test)


def test_a_cancelled_call_and_a_client_that_leaves_stop_the_method() -> None:
    async def test(served: Serving, peer: Peer) -> None:
        number = peer.begin(request_fields("wait"))
        await peer.send(number, framed(b""))
        async with connected(served.port) as other:
            await other.send(other.begin(request_fields("wait")), framed(b""))
            while served.methods.begun < 2:
                await asyncio.sleep(0.01)
        peer.h2.reset_stream(number, 8)
        peer.flush()
        while served.methods.cancelled < 2:
            await asyncio.sleep(0.01)
        while len(served.server.connections) > 1:
            await asyncio.sleep(0.01)

    talk(test)


def test_no_more_streams_than_allowed_and_their_places_come_back() -> None:
    async def test(served: Serving, peer: Peer) -> None:
        await peer.read()  # the settings
        assert peer.h2.remote_settings.max_concurrent_streams == 4
        waiting = [peer.begin(request_fields("wait")) for _ in range(4)]
        for number in waiting:
            await peer.send(number, framed(b"late"))
        peer.h2.remote_settings[3] = 100  # it does as if it had not heard
        peer.h2.remote_settings.acknowledge()
        refused = peer.begin(request_fields("echo"))
        assert (await peer.answer(refused)).reset == 7
        served.methods.go_on.set()
        assert [(await peer.answer(number)).messages for number in waiting] == [[b"late"]] * 4
        assert (await peer.call("echo", b"again")).messages == [b"again"]

    talk(test)


def test_metadata_too_long_ends_the_call_alone() -> None:
    async def test(_: Serving, peer: Peer) -> None:
        assert (await peer.call("echo", b"", more=[("x-long", "a" * 5000)])).status == 8
        assert (await peer.call("echo", b"short", more=[("x-short", "a" * 3000)])).messages == [b"short"]

    talk(test)


def test_interceptors_see_method_and_metadata() -> None:
    class Seen:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        async def intercept_service(self, go_on: Any, details: Any) -> Any:
            self.calls.append((details.method, dict(details.invocation_metadata)))
            return await go_on(details)

    first, second = Seen(), Seen()

    async def whole() -> None:
        async with serving(SMALL, [first, second]) as served, connected(served.port) as peer:
            await peer.call("echo", b"", more=[("x-key", "k"), ("x-raw-bin", "AP8")])

    asyncio.run(whole())
    assert first.calls == second.calls == [("/t.T/echo", {"x-key": "k", "x-raw-bin": b"\0\xff"})]

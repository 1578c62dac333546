"""Floods that are mixed with ordinary calls, work in turns, and what the server holds: bounds of the builtin server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import hpack
import hyperframe.frame as hf
import pytest
import uvloop

from serve.transport.http2 import connection as connections
from serve.transport.http2.call import Call
from serve.transport.http2.config import Config
from serve.transport.http2.connection import Connection
from serve.transport.http2.frame_budget import BURST, PER_SECOND, RESET_COST, FrameBudget, head_cost
from serve.transport.http2.frames import Http2ConnectionError
from serve.transport.http2.header_blocks import RequestHeaders
from serve.transport.http2.held_bytes import HeldBytes
from serve.transport.http2.stream import TURN_BYTES, Stream
from tests.serve.transport.http2.peer import Fields, Raw, Serving, connected, framed, raw, request_fields, serving

CALM = 11


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def ordinary(peer: Raw, number: int) -> list[Any]:
    return [peer.headers(number, request_fields("echo")), frame(0, 1, number, framed(b"work"))]


def reset(peer: Raw, number: int) -> list[Any]:
    return [peer.headers(number, request_fields("echo")), frame(3, 0, number, b"\0\0\0\x08")]


def made_to_reset(payload: bytes, kind: int = 8) -> Callable[[Raw, int], list[Any]]:
    """A call that the server must reset (CVE-2025-8671)."""
    return lambda peer, number: [peer.headers(number, request_fields("wait")), frame(kind, 0, number, payload)]


def get(peer: Raw, number: int) -> list[Any]:
    return [peer.headers(number, [(":method", "GET"), *request_fields("echo")[1:]], "END_STREAM")]


def unknown(peer: Raw, number: int) -> list[Any]:
    return [peer.headers(number, request_fields("croak")), frame(0, 1, number, framed(b"x"))]


def late_data(peer: Raw, number: int) -> list[Any]:
    return [*ordinary(peer, number), frame(0, 0, number, b"more"), frame(0, 0, number, b"and more")]


def many_fields(peer: Raw, number: int) -> list[Any]:
    return [frame(1, 4, number, peer.encoder.encode(request_fields("croak")) + b"\x90" * 900)]  # static index 16


def large_heads(peer: Raw, number: int) -> list[Any]:
    return [peer.headers(number, request_fields("echo", ("x-long", "a" * 70_000)))]


def heads_that_unfold(peer: Raw, number: int) -> list[Any]:
    """Each byte at the end refers to the newest entry of the table, of 3,000 bytes."""
    block = peer.encoder.encode([*request_fields("echo"), ("x-long", "a" * 3000)])
    return [frame(1, 4, number, block + b"\xbe" * 3000)]


def pieces(peer: Raw, number: int) -> list[Any]:
    block = peer.encoder.encode(request_fields("croak"))
    return [frame(1, 0, number, block), *[frame(9, 0, number, b"")] * 30, frame(9, 4, number, b"")]


def settings(peer: Raw, number: int) -> list[Any]:
    return [frame(4, 0, 0, b"\0\3\0\0\1\0" * 32)]


def window_of_the_dead(peer: Raw, number: int) -> list[Any]:
    return [*ordinary(peer, number), *[frame(8, 0, number - 64 if number > 64 else number, b"\0\0\0\1")] * 4]


ATTACKS: dict[str, Callable[[Raw, int], list[Any]]] = {
    "rapid reset": reset,
    "windows of nothing": made_to_reset(b"\0\0\0\0"),
    "windows too large": made_to_reset(b"\x7f\xff\xff\xff"),
    "data after the end": late_data,
    "GET": get,
    "methods that are not there": unknown,
    "heads of many fields": many_fields,
    "heads that are too large": large_heads,
    "heads that unfold": heads_that_unfold,
    "heads in pieces": pieces,
    "long settings": settings,
    "windows of ended streams": window_of_the_dead,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_cut_off_though_it_is_mixed_with_ordinary_calls(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.transport.http2.frame_budget.PER_SECOND", 0)  # however slow this machine is
    monkeypatch.setattr("serve.transport.http2.server.CHECK_INTERVAL", 0.05)
    monkeypatch.setattr("serve.transport.http2.connection.LINGER", 0.1)
    counted: list[tuple[str, str]] = []
    config = Config(max_concurrent_streams=64, count=lambda event, reason: counted.append((event, reason)))

    async def whole() -> None:
        async with serving(config) as served, connected(served.port) as bystander, raw(served.port) as attacker:
            attacker.greet()
            reading = asyncio.create_task(attacker.frames())
            number = 1
            for _ in range(3000):
                attacker.send(*ATTACKS[name](attacker, number), *ordinary(attacker, number + 2))
                number += 4
                await asyncio.sleep(0)
                if reading.done() or attacker.writer.is_closing():
                    break
                if not number % 101:
                    assert (await bystander.call("echo", b"next")).messages == [b"next"]
            last = [one for one in await reading if isinstance(one, hf.GoAwayFrame)][-1]
            assert last.error_code == CALM, last.additional_data
            assert (await bystander.call("echo", b"last")).messages == [b"last"]

    asyncio.run(whole())
    assert ("goaway", "enhance_your_calm") in counted
    assert not caplog.records


def test_ordinary_calls_alone_are_never_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.transport.http2.frame_budget.PER_SECOND", 0)

    async def whole() -> None:
        async with serving(Config(max_concurrent_streams=8)) as served, connected(served.port) as peer:
            for _ in range(1500):  # their heads cost more than twice what the client may spend at once
                await peer.call("echo", b"work")

    asyncio.run(whole())


def test_calls_that_fail_cost_one_unit_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.transport.http2.frame_budget.PER_SECOND", 0)

    async def whole() -> None:
        async with serving(Config(max_concurrent_streams=8)) as served, connected(served.port) as peer:
            for _ in range(1000):  # their heads cost more than the client may spend at once
                assert (await peer.call("fail", b"")).status == 5
            (connection,) = served.server.connections
            assert connection.budget.left == pytest.approx(BURST + 8 * 8 - 1000, abs=30)

    asyncio.run(whole())


def test_400_cancels_a_second_go_on_for_ever() -> None:
    budget, now = FrameBudget(1024, 0.0), 0.0
    for _ in range(400 * 60):
        now += 1 / 400
        budget.refill(now)
        budget.spend(head_cost(16))
        budget.spend(1 + RESET_COST)
    assert budget.left > 5000


def test_a_channel_may_cancel_all_its_calls_at_once() -> None:
    budget = FrameBudget(1024, 0.0)
    for _ in range(1024):
        budget.spend(head_cost(12))
        budget.spend(1 + RESET_COST)


def test_a_thousand_resets_more_than_allowed_each_second_are_too_many() -> None:
    budget, now = FrameBudget(1024, 0.0), 0.0
    with pytest.raises(Http2ConnectionError):
        for _ in range(4 * PER_SECOND):
            now += 1 / 2000
            budget.refill(now)
            budget.spend(head_cost(8))
            budget.spend(1 + RESET_COST)
            budget.spend(head_cost(8))
            budget.call_succeeded(head_cost(8))


class Pipe(asyncio.Transport):
    """A transport that keeps what is written, and notes whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def piped() -> tuple[Connection, Pipe]:
    """A connection without calls, whose preface and SETTINGS have come."""
    pipe = Pipe()
    made = Connection(Config(), lambda *_: pytest.fail("no call"), lambda _: None, lambda _: None, HeldBytes(2**30))
    made.connection_made(pipe)
    made.data_received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    pipe.written.clear()
    return made, pipe


PONG = frame(6, 1, 0, b"12345678")


def test_a_turn_handles_so_many_frames_and_then_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TURN_SECONDS", 100.0)

    async def whole() -> None:
        made, pipe = piped()
        pings = 3 * connections.TURN_FRAMES + 10
        made.data_received(frame(6, 0, 0, b"12345678") * pings)
        turns = []
        while len(pipe.written) < pings * len(PONG):
            turns.append(len(pipe.written) // len(PONG))
            await asyncio.sleep(0)
        assert turns == [connections.TURN_FRAMES * n for n in (1, 2, 3)]

    asyncio.run(whole())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_turn_ends_when_its_time_is_over(run: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        made, pipe = piped()
        await asyncio.sleep(0)
        monkeypatch.setattr(connections, "TURN_SECONDS", 0.001)
        monkeypatch.setattr(pipe, "write", lambda data: (time.sleep(0.002), pipe.written.extend(data)))
        made.data_received(frame(6, 0, 0, b"12345678") * 5)
        for done in range(1, 6):
            assert len(pipe.written) == done * len(PONG)
            await asyncio.sleep(0)

    run(whole())


def test_reading_pauses_while_frames_wait_and_goes_on_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TURN_SECONDS", 100.0)

    async def whole() -> None:
        made, pipe = piped()
        ping = frame(6, 0, 0, b"12345678")
        made.data_received(ping * (connections.TURN_FRAMES + 1))
        made.data_received(ping * 7 + ping[:5])
        assert not pipe.reading
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(pipe.written) == (connections.TURN_FRAMES + 8) * len(PONG)
        assert pipe.reading
        made.data_received(ping[5:])
        assert len(pipe.written) == (connections.TURN_FRAMES + 9) * len(PONG)

    asyncio.run(whole())


def test_nothing_is_read_or_handled_while_output_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TURN_SECONDS", 100.0)

    async def whole() -> None:
        made, pipe = piped()
        made.pause_writing()
        assert not pipe.reading
        made.data_received(frame(6, 0, 0, b"12345678") * 50)  # was on its way already
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(pipe.written) <= len(PONG)
        made.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(pipe.written) == 50 * len(PONG)
        assert pipe.reading

    asyncio.run(whole())


def test_a_long_answer_is_sent_in_turns_though_its_client_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TURN_SECONDS", 100.0)

    class NoOwner:
        config, peer = Config(), ""

        def call_finished(self, call: Any) -> None: ...

    async def whole() -> None:
        made, pipe = piped()
        made.send_window = 2**30
        streams = []
        for number in (1, 3):
            stream = Stream(made, number, RequestHeaders("/t.T/echo", ()), 2**30)
            made._calls[number] = Call(lambda call: pytest.fail("no method"), NoOwner(), stream)
            streams.append(stream)
        streams[0].send_message(b"a" * 4 * TURN_BYTES)
        streams[1].send_message(b"b" * 4 * TURN_BYTES)
        sent = []
        while any(stream._unsent for stream in streams):
            sent.append(tuple(round(pipe.written.count(letter) / TURN_BYTES) for letter in (b"a", b"b")))
            await asyncio.sleep(0)
        assert sent[:3] == [(1, 1), (2, 2), (3, 3)]
        for stream in streams:
            stream.close()
        assert made.held.count == 0

    asyncio.run(whole())


def limited(test: Callable[[Serving, Raw], Awaitable[None]], config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.transport.http2.server.CHECK_INTERVAL", 0.05)

    async def whole() -> None:
        async with serving(config) as served, raw(served.port) as peer:
            peer.greet()
            await test(served, peer)
            assert served.server._held.count == 0

    asyncio.run(whole())


async def status(peer: Raw, number: int) -> int:
    """The gRPC status with which the server ends a stream."""
    decoder = hpack.Decoder()
    while True:
        found = await peer.frame()
        if isinstance(found, hf.HeadersFrame):
            fields = dict(decoder.decode(found.data))
            if found.stream_id == number and "grpc-status" in fields:
                return int(fields["grpc-status"])


SHORT = Config(timeout=0.2, max_message_size=100_000)
NO_WINDOW = hf.SettingsFrame(0, settings={4: 0})


@pytest.mark.parametrize(
    ("method", "more", "content", "ended", "config", "expected"),
    [
        ("echo", [("grpc-timeout", "100m")], framed(b"frog"), True, Config(), 4),  # the window stays shut
        ("count", [("grpc-timeout", "100m")], framed(b"9 9"), True, Config(), 4),
        ("echo", [], framed(b"frog"), True, SHORT, 4),  # nobody reads the answer
        ("count", [], framed(b"9 9"), True, SHORT, 4),
        ("echo", [], b"", False, SHORT, 4),  # the body does not come
        ("echo", [], framed(b"frog")[:6], False, SHORT, 4),
        ("echo", [], framed(b"frog"), False, SHORT, 4),  # its end does not come
        ("chat", [], framed(b"frog")[:6], False, SHORT, 4),
        ("length", [], framed(b"5000"), True, replace(SHORT, max_held=1000), None),  # a single one may be larger
        ("echo", [("grpc-timeout", "soon")], framed(b"x"), True, Config(), 13),
    ],
)
def test_calls_end_though_the_client_does_nothing(
    method: str,
    more: Fields,
    content: bytes,
    ended: bool,
    config: Config,
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(served: Serving, peer: Raw) -> None:
        peer.send(NO_WINDOW, peer.headers(1, request_fields(method, *more)), frame(0, int(ended), 1, content))
        assert await asyncio.wait_for(status(peer, 1), 5) == (4 if expected is None else expected)
        assert not served.server.connections or not next(iter(served.server.connections))._calls

    limited(test, config, monkeypatch)


def test_an_idle_stream_between_messages_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(_: Serving, peer: Raw) -> None:
        peer.send(peer.headers(1, request_fields("chat")), frame(0, 0, 1, framed(b"ab")))
        await asyncio.sleep(0.5)
        peer.send(frame(0, 1, 1, framed(b"cd")))
        assert await asyncio.wait_for(status(peer, 1), 5) == 0

    limited(test, SHORT, monkeypatch)


@pytest.mark.parametrize("kind", ["requests", "answers"])
def test_what_clients_make_the_server_hold_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(max_message_size=100_000, max_held_per_connection=100_000, max_held=150_000)

    async def test(served: Serving, peer: Raw) -> None:
        peer.send(NO_WINDOW)
        for number in (1, 3, 5):
            if kind == "requests":
                peer.send(peer.headers(number, request_fields("echo")))
                peer.send(frame(0, 0, number, (b"\0\0\1\x80\0" + b"x" * 40_000)))
            else:
                peer.send(peer.headers(number, request_fields("length")), frame(0, 1, number, framed(b"40000")))
        assert await asyncio.wait_for(status(peer, 5), 5) == 8
        assert 80_000 <= served.server._held.count <= 100_000
        peer.send(*(frame(3, 0, number, b"\0\0\0\x08") for number in (1, 3)))
        while served.server._held.count:
            await asyncio.sleep(0.01)

    limited(test, config, monkeypatch)


def test_small_messages_take_no_more_memory_than_they_have_bytes() -> None:
    async def whole() -> None:
        async with serving() as served, raw(served.port) as peer:
            peer.greet()
            peer.send(peer.headers(1, request_fields("chat")), NO_WINDOW)
            peer.send(*[frame(0, 0, 1, framed(*[b""] * 3000))] * 50)
            while not (calls := [c for one in served.server.connections for c in one._calls.values()]):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            stream = calls[0].stream
            assert stream._whole is None
            assert 0 < len(stream._buffer) <= 50 * 15_000
            assert stream._held_requests == len(stream._buffer)

    asyncio.run(whole())


def test_a_connection_too_many_is_told_and_closed() -> None:
    counted: list[tuple[str, str]] = []

    async def whole() -> None:
        config = Config(max_connections=1, count=lambda event, reason: counted.append((event, reason)))
        async with serving(config) as served, connected(served.port) as first:
            assert (await first.call("echo", b"in")).messages == [b"in"]
            async with raw(served.port) as second:
                last = [one for one in await second.frames() if isinstance(one, hf.GoAwayFrame)][-1]
                assert (last.last_stream_id, last.error_code) == (0, 0)
            assert (await first.call("echo", b"still")).messages == [b"still"]

    asyncio.run(whole())
    assert ("refusal", "max_connections") in counted


def test_an_old_connection_is_asked_to_end_and_its_calls_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.transport.http2.server.CHECK_INTERVAL", 0.05)
    counted: list[tuple[str, str]] = []

    async def whole() -> None:
        config = Config(max_connection_age=0.1, count=lambda event, reason: counted.append((event, reason)))
        async with serving(config) as served, raw(served.port) as peer:
            peer.greet()
            peer.send(peer.headers(1, request_fields("wait")), frame(0, 1, 1, framed(b"to the end")))
            while not isinstance(found := await peer.frame(), hf.PingFrame):
                pass
            peer.send(hf.PingFrame(0, found.opaque_data, flags=["ACK"]))
            while not isinstance(found := await peer.frame(), hf.GoAwayFrame):
                pass
            assert (found.last_stream_id, found.error_code) == (1, 0)
            served.methods.go_on.set()
            rest = await peer.frames()
            assert [one.data for one in rest if isinstance(one, hf.DataFrame)] == [framed(b"to the end")]

    asyncio.run(whole())
    assert ("goaway", "max_connection_age") in counted

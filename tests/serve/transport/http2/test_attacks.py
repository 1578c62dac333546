"""Clients that violate HTTP/2 get the error code of RFC 9113 and lose the stream or the connection; others go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import hyperframe.frame as hf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.transport.http2.config import Config
from serve.transport.http2.frame_reader import MAX_FRAME_SIZE
from tests.serve.transport.http2.peer import Raw, Serving, connected, framed, raw, request_fields, serving

SMALL = Config(max_message_size=10_000, max_header_list_size=4096, max_concurrent_streams=8, timeout=0.3)

PROTOCOL, INTERNAL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION, CALM = 1, 2, 3, 5, 6, 7, 9, 11

Attack = Callable[[Raw], None]


def headers(raw_: Raw, number: int = 1, *flags: str) -> hf.HeadersFrame:
    return raw_.headers(number, request_fields("echo"), *flags)


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def window(number: int, more: int) -> bytes:
    return frame(8, 0, number, more.to_bytes(4, "big"))


#: What is sent after the greeting, and the error code with which the connection ends.
BREAKS: dict[str, tuple[Attack, int]] = {
    "data without a stream": (lambda r: r.send(frame(0, 0, 0, b"x")), PROTOCOL),
    "data on an idle stream": (lambda r: r.send(frame(0, 0, 5, b"x")), PROTOCOL),
    "a stream of the server's": (lambda r: r.send(headers(r, 2)), PROTOCOL),
    "headers without a stream": (lambda r: r.send(frame(1, 4, 0, b"")), PROTOCOL),
    "a stream number that went before": (lambda r: r.send(headers(r, 3), headers(r, 1)), CLOSED),
    "headers after the end": (
        lambda r: r.send(r.headers(1, request_fields("wait")), frame(0, 1, 1, framed(b"a")), headers(r, 1)),
        CLOSED,
    ),
    "more padding than frame": (lambda r: r.send(frame(1, 4 | 8, 1, b"\xff")), PROTOCOL),
    "padding without a length": (lambda r: r.send(frame(1, 4 | 8, 1, b"")), SIZE),
    "a frame too large": (lambda r: r.send(frame(0, 0, 1, b"\0" * (MAX_FRAME_SIZE + 1))), SIZE),
    "a block that another frame cuts": (
        lambda r: r.send(frame(1, 0, 1, b"\x82"), frame(6, 0, 0, b"12345678")),
        PROTOCOL,
    ),
    "a block that another stream cuts": (lambda r: r.send(frame(1, 0, 1, b"\x82"), frame(9, 4, 3, b"\x82")), PROTOCOL),
    "a block that never began": (lambda r: r.send(frame(9, 4, 1, b"\x82")), PROTOCOL),
    "a block in too many pieces": (lambda r: r.send(frame(1, 0, 1, b"\x82"), *[frame(9, 0, 1, b"")] * 100), CALM),
    "a block that never ends": (
        lambda r: r.send(frame(1, 0, 1, b"\x82"), *[frame(9, 0, 1, b"\0" * 200_000)] * 4),
        CALM,
    ),
    "a block of nonsense": (lambda r: r.send(frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff")), COMPRESSION),
    "an index of no table": (lambda r: r.send(frame(1, 4, 1, b"\xfe")), COMPRESSION),
    "a block cut off": (lambda r: r.send(frame(1, 4, 1, b"\x40\x7f")), COMPRESSION),
    "a window without room": (lambda r: r.send(window(0, 0)), PROTOCOL),
    "a window too large": (lambda r: r.send(window(0, 2**31 - 1)), FLOW),
    "a window of an idle stream": (lambda r: r.send(window(7, 5)), PROTOCOL),
    "half a window": (lambda r: r.send(frame(8, 0, 0, b"\0\0\1")), SIZE),
    "a reset of an idle stream": (lambda r: r.send(frame(3, 0, 9, b"\0\0\0\x08")), PROTOCOL),
    "half a reset": (lambda r: r.send(frame(3, 0, 1, b"\0")), SIZE),
    "a ping of a stream": (lambda r: r.send(frame(6, 0, 1, b"12345678")), PROTOCOL),
    "half a ping": (lambda r: r.send(frame(6, 0, 0, b"1234")), SIZE),
    "settings of a stream": (lambda r: r.send(frame(4, 0, 1, b"")), PROTOCOL),
    "settings cut off": (lambda r: r.send(frame(4, 0, 0, b"\0\4\0")), SIZE),
    "an answer with settings": (lambda r: r.send(frame(4, 1, 0, b"\0\4\0\0\0\0")), SIZE),
    "a push": (lambda r: r.send(frame(5, 4, 1, b"\0\0\0\2")), PROTOCOL),
    "a push allowed twice": (lambda r: r.send(frame(4, 0, 0, b"\0\2\0\0\0\2")), PROTOCOL),
    "a first window too large": (lambda r: r.send(frame(4, 0, 0, b"\0\4\xff\xff\xff\xff")), FLOW),
    "frames too small": (lambda r: r.send(frame(4, 0, 0, b"\0\5\0\0\0\1")), PROTOCOL),
    "windows pushed over": (
        lambda r: r.send(headers(r), window(1, 2**31 - 1 - 65_535), frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff")),
        FLOW,
    ),
    "half a priority": (lambda r: r.send(frame(2, 0, 1, b"\0")), SIZE),
    "a flood of pings": (lambda r: r.send(*[frame(6, 0, 0, b"12345678")] * 3000), CALM),
    "a flood of settings": (lambda r: r.send(*[frame(4, 0, 0, b"")] * 3000), CALM),
    "a flood of priorities": (lambda r: r.send(*[frame(2, 0, 1, b"\0" * 5)] * 3000), CALM),
    "a flood of frames nobody knows": (lambda r: r.send(*[frame(99, 0, 1, b"")] * 3000), CALM),
    "a flood of empty data": (lambda r: r.send(headers(r), *[frame(0, 0, 1, b"")] * 3000), CALM),
    "a flood of calls given up": (
        lambda r: r.send(*(part for n in range(1, 4001, 2) for part in (headers(r, n), frame(3, 0, n, b"\0\0\0\x08")))),
        CALM,
    ),
    "a flood of calls that make us give up": (
        lambda r: r.send(*(part for n in range(1, 4001, 2) for part in (headers(r, n), window(n, 0)))),
        CALM,
    ),
    "a flood of calls that are too many": (lambda r: r.send(*(headers(r, n) for n in range(1, 4001, 2))), CALM),
    "a block that comes too slowly": (lambda r: r.send(frame(1, 0, 1, b"\x82")), CALM),
}

#: What is sent after the greeting, and the error code with which stream 1 ends, and nothing else.
RESETS: dict[str, tuple[Attack, int]] = {
    "data after the end": (
        lambda r: r.send(r.headers(1, request_fields("wait")), frame(0, 1, 1, framed(b"")), frame(0, 1, 1, b"")),
        CLOSED,
    ),
    "a window that grows by nothing": (lambda r: r.send(headers(r), window(1, 0)), PROTOCOL),
    "a window that is too large": (lambda r: r.send(headers(r), window(1, 2**31 - 1)), FLOW),
    "trailers that are not the end": (lambda r: r.send(headers(r), headers(r)), PROTOCOL),
    "no method": (lambda r: r.send(r.headers(1, request_fields("echo")[1:])), PROTOCOL),
    "two paths": (lambda r: r.send(r.headers(1, [(":path", "/"), *request_fields("echo")])), PROTOCOL),
    "an empty path": (
        lambda r: r.send(r.headers(1, [*request_fields("echo")[:2], (":path", ""), *request_fields("echo")[3:]])),
        PROTOCOL,
    ),
    "a pseudo-header at the end": (
        lambda r: r.send(r.headers(1, [*request_fields("echo")[1:], request_fields("echo")[0]])),
        PROTOCOL,
    ),
    "a pseudo-header of answers": (
        lambda r: r.send(r.headers(1, [(":status", "200"), *request_fields("echo")])),
        PROTOCOL,
    ),
    "a name in capitals": (lambda r: r.send(r.headers(1, [*request_fields("echo"), ("X-Frog", "1")])), PROTOCOL),
    "a name with a blank": (lambda r: r.send(r.headers(1, [*request_fields("echo"), ("x frog", "1")])), PROTOCOL),
    "a value with a line end": (
        lambda r: r.send(r.headers(1, [*request_fields("echo"), ("x-frog", "1\r\n2")])),
        PROTOCOL,
    ),
    "a header of the connection": (
        lambda r: r.send(r.headers(1, [*request_fields("echo"), ("connection", "close")])),
        PROTOCOL,
    ),
    "other transfer codings": (
        lambda r: r.send(
            r.headers(1, [field for field in request_fields("echo") if field[0] != "te"] + [("te", "gzip")])
        ),
        PROTOCOL,
    ),
    "no base64": (lambda r: r.send(r.headers(1, request_fields("echo", ("x-raw-bin", "*")))), PROTOCOL),
    "more data than the window": (
        lambda r: r.send(
            r.headers(1, request_fields("chat")), *[frame(0, 0, 1, b"\0\0\0\x10\0" + b"\0" * 4096) * 60] * 5
        ),
        FLOW,
    ),
}


def attack(test: Callable[[Serving, Raw], Awaitable[None]], monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Run ``test`` with an attacker, while a call of somebody else waits; that is answered, and so is a new one."""

    async def whole() -> None:
        async with serving(SMALL) as served, connected(served.port) as bystander, raw(served.port) as attacker:
            number = bystander.begin(request_fields("wait"))
            await bystander.send(number, framed(b"undisturbed"))
            await test(served, attacker)
            served.methods.go_on.set()
            assert (await bystander.answer(number)).messages == [b"undisturbed"]
            assert (await bystander.call("echo", b"next")).messages == [b"next"]

    asyncio.run(whole())


@pytest.mark.parametrize("name", BREAKS)
def test_a_connection_error_ends_the_connection_with_its_code(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.transport.http2.server.CHECK_INTERVAL", 0.05)
    what, code = BREAKS[name]

    async def test(_: Serving, attacker: Raw) -> None:
        attacker.greet()
        what(attacker)
        last = [one for one in await attacker.frames() if isinstance(one, hf.GoAwayFrame)][-1]
        assert last.error_code == code, last.additional_data

    attack(test)
    assert not caplog.records


@pytest.mark.parametrize("name", RESETS)
def test_a_stream_error_ends_that_stream_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    what, code = RESETS[name]

    async def test(_: Serving, attacker: Raw) -> None:
        attacker.greet()
        what(attacker)
        attacker.send(attacker.headers(9, request_fields("croak"), "END_STREAM"))  # is answered: the connection lives
        attacker.send(frame(6, 0, 0, b"the last"))
        found: list[hf.Frame] = []
        while not any(isinstance(one, hf.PingFrame) for one in found):
            found.append(await attacker.frame())
        resets = {one.stream_id: one.error_code for one in found if isinstance(one, hf.RstStreamFrame)}
        assert resets == {1: code}
        assert not any(isinstance(one, hf.GoAwayFrame) for one in found)

    attack(test)
    assert not caplog.records


@pytest.mark.parametrize(
    ("greeting", "answer"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nXX", b"\0\0"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\0\x01\0\x01", b"\0\0"),
        (b"", b"\0\0"),
        (b"PRI * HT", b"\0\0"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(6, 0, 0, b"12345678"), b"\0\0"),
    ],
)
def test_a_client_without_a_preface_is_disconnected(
    greeting: bytes, answer: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.transport.http2.server.CHECK_INTERVAL", 0.05)

    async def test(_: Serving, attacker: Raw) -> None:
        attacker.send(greeting)
        assert answer in await asyncio.wait_for(attacker.reader.read(), 10)

    attack(test)
    assert not caplog.records


def test_a_client_that_reads_nothing_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.transport.http2.server.CHECK_INTERVAL", 0.05)

    async def test(served: Serving, attacker: Raw) -> None:
        attacker.greet()
        attacker.send(window(0, 2**31 - 1 - 65_535), hf.SettingsFrame(0, settings={4: 2**31 - 1}))
        attacker.send(attacker.headers(1, request_fields("length")), frame(0, 1, 1, framed(b"90000000")))
        while len(served.server.connections) > 1:
            await asyncio.sleep(0.02)

    attack(test)
    assert not caplog.records


def test_an_idle_client_is_pinged_and_then_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "serve.transport.http2.server.CHECK_INTERVAL": 0.05,
        "serve.transport.http2.connection.IDLE_TIMEOUT": 0.2,
    }.items():
        monkeypatch.setattr(name, value)

    async def whole() -> None:
        async with serving(SMALL) as served, connected(served.port) as peer, raw(served.port) as dead:
            dead.greet()
            for _ in range(6):  # it answers, and lives on
                await peer.read()
            monkeypatch.setattr("serve.transport.http2.connection.PING_TIMEOUT", 0.1)
            while len(served.server.connections) > 1:
                await peer.read()
            frames = await dead.frames()
            assert any(isinstance(one, hf.PingFrame) for one in frames)
            assert (await peer.call("echo", b"here")).messages == [b"here"]

    asyncio.run(whole())


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_sent_the_server_neither_fails_nor_hangs(data: st.DataObject) -> None:
    kinds = st.integers(0, 11)
    payloads = st.binary(max_size=40) | st.just(framed(b"abc")) | st.just(b"\0\0\0\1") | st.just(b"12345678")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]

    async def test(_: Serving, attacker: Raw) -> None:
        attacker.greet()
        for _ in range(data.draw(st.integers(1, 12), "frames")):
            number = data.draw(st.sampled_from([0, 1, 1, 3, 5, 2, 2**31 - 1]), "stream")
            if data.draw(st.booleans(), "well-formed"):
                method = data.draw(st.sampled_from(["echo", "chat", "count", "join", "length", "fail"]), "method")
                flags = data.draw(st.sampled_from([(), ("END_STREAM",)]), "flags")
                attacker.send(attacker.headers(number | 1, request_fields(method), *flags))
                continue
            payload = data.draw(payloads, "payload")
            attacker.send(frame(data.draw(kinds, "kind"), data.draw(st.integers(0, 63), "flags"), number, payload))
        attacker.writer.write_eof()
        await attacker.frames()

    logging.getLogger("http2").addHandler(handler)
    try:
        attack(test)
    finally:
        logging.getLogger("http2").removeHandler(handler)
    # A count of so many messages as no request says is the method's mistake, which is told.
    assert not [
        one for one in records if "invalid literal" not in str(one.exc_info) and "unpack" not in str(one.exc_info)
    ]

"""The PROXY protocol's header is read from trusted proxies, and from nobody else."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from serve.security.limits import Limits
from serve.security.trusted_proxies import TrustedProxies
from serve.transport.http.http_connection import HttpConnection
from serve.transport.proxy_protocol import SIGNATURE, ProxyHeader, ProxyHeaderError, accept_proxies, read_header
from tests.serve.transport.http_peer import connected, post, serving

TRUSTED = TrustedProxies.parse("127.0.0.0/8").trusts


def header(command: int, family: int, addresses: bytes, extra: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 + command, family, len(addresses + extra)) + addresses + extra


def addresses(family: int, source: str, target: str, source_port: int = 4711) -> bytes:
    pack = socket.inet_pton
    return pack(family, source) + pack(family, target) + struct.pack("!HH", source_port, 8501)


V4 = header(1, 0x11, addresses(socket.AF_INET, "203.0.113.9", "10.0.0.1"))
V6 = header(1, 0x21, addresses(socket.AF_INET6, "2001:db8::9", "::1"), b"\x04\x00\x01x")  # with a further field
LOCAL = header(0, 0, b"")


@pytest.mark.parametrize(
    ("data", "client"),
    [
        (V4, ("203.0.113.9", 4711)),
        (V6, ("2001:db8::9", 4711)),
        (LOCAL, None),
        (header(1, 0x00, b""), None),
        (header(1, 0x31, bytes(216)), None),  # a Unix socket
    ],
)
def test_headers(data: bytes, client: tuple[str, int] | None) -> None:
    assert read_header(data + b"POST") == ProxyHeader(len(data), client)
    for end in range(len(data)):
        assert read_header(data[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 8501\r\n",
        SIGNATURE + b"\x11\x11\0\0",  # version 1
        header(2, 0x11, bytes(12)),  # an unknown command
        header(1, 0x11, bytes(8)),  # too short for its addresses
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_header(data)


async def show_client(scope: Any, receive: Any, send: Any) -> None:
    content = str(scope["client"][0]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


def connection(trusts: Any, seconds: float = 10) -> Any:
    return accept_proxies(HttpConnection.limited(Limits(), lambda path, headers: None), trusts, seconds)


def play(http: Any, *parts: bytes, more: bytes = b"") -> list[bytes]:
    """What the server answers on one connection to ``parts``, and to ``more`` if there is any."""

    async def ask() -> list[bytes]:
        async with serving(http, app=show_client, proxy_headers=False) as (_, port), connected(port) as client:
            found = [await client.ask(*parts)]
            return [*found, await client.ask(more)] if more else found

    return asyncio.run(ask())


@pytest.mark.parametrize(("sent", "client"), [(V4, b"203.0.113.9"), (V6, b"2001:db8::9"), (LOCAL, b"127.0.0.1")])
def test_the_address_is_that_of_the_header(sent: bytes, client: bytes) -> None:
    request = post("/x", b"1")
    assert play(connection(TRUSTED), sent + request, more=request) == [client, client]


def test_the_header_may_come_in_pieces() -> None:
    request = V4 + post("/x", b"1")
    assert play(connection(TRUSTED), request[:5], request[5:20], request[20:40], request[40:]) == [b"203.0.113.9"]


def test_others_are_served_without_a_header_and_not_believed() -> None:
    http = connection(TrustedProxies.parse("10.0.0.0/8").trusts)
    assert play(http, post("/x", b"1")) == [b"127.0.0.1"]

    async def rest() -> bytes:
        async with serving(http, app=show_client) as (_, port), connected(port) as client:
            client.writer.write(V4 + post("/x", b"1"))
            return await client.rest()

    assert asyncio.run(rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sent", [post("/x", b"1"), V4[:10]])
def test_a_proxy_that_sends_none_is_closed(sent: bytes) -> None:
    async def rest() -> bytes:
        async with serving(connection(TRUSTED, 0.2), app=show_client) as (server, port), connected(port) as client:
            client.writer.write(sent)
            found = await client.rest()
            assert not server.server_state.connections
            return found

    assert asyncio.run(rest()) == b""


def test_a_server_that_stops_closes_a_connection_that_waits_for_its_header() -> None:
    async def rest() -> bytes:
        async with serving(connection(TRUSTED, 60), app=show_client) as (server, port), connected(port) as client:
            while not server.server_state.connections:
                await asyncio.sleep(0.01)
            for each in list(server.server_state.connections):
                each.shutdown()  # as uvicorn's server does when it stops
            return await client.rest()

    assert asyncio.run(rest()) == b""

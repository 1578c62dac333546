"""PROXY protocol version 2: what a proxy for TCP sends first on a connection, to tell which client it is for.

Source: HAProxy's specification, https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from serve.transport.http.uvicorn_contract import CLIENT

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Signature, version and command, family and protocol, and how many bytes follow.
_FIXED = struct.Struct("!12sBBH")
_VERSION, _LOCAL, _PROXY = 2, 0, 1
#: Bytes of source and destination address and port, by family and protocol: TCP over IPv4 and over IPv6.
_ADDRESSES = {0x11: (struct.Struct("!4s4sHH"), IPv4Address), 0x21: (struct.Struct("!16s16sHH"), IPv6Address)}


class ProxyHeaderError(ValueError):
    """The bytes are no header of version 2."""


class ProxyHeader(NamedTuple):
    """A header: its length in bytes, and the client's address and port; None if the proxy speaks for itself."""

    length: int
    client: tuple[str, int] | None


def read_header(data: bytes) -> ProxyHeader | None:
    """The header at the beginning of ``data``; None if more bytes are needed.

    Raises:
        ProxyHeaderError: there is none.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ProxyHeaderError("the signature is missing")
    if len(data) < _FIXED.size:
        return None
    _, version_command, family, size = _FIXED.unpack_from(data)
    version, command = divmod(version_command, 16)
    if version != _VERSION or command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"version {version} with command {command} is unknown")
    length = _FIXED.size + size
    if len(data) < length:
        return None
    if command == _LOCAL or family not in _ADDRESSES:
        return ProxyHeader(length, None)
    addresses, address = _ADDRESSES[family]
    if size < addresses.size:
        raise ProxyHeaderError(f"{size} bytes are too few for its addresses")
    source, _, port, _ = addresses.unpack_from(data, _FIXED.size)
    return ProxyHeader(length, (str(address(source)), port))


class ProxiedConnection(asyncio.Protocol):
    """Reads the header of a connection, and then hands the connection over to the protocol that it is for.

    Only connections from a trusted proxy have the header; all others are handed over at once. uvicorn keeps it in its
    set of connections, and calls ``shutdown`` when the server stops.
    """

    def __init__(
        self,
        make_protocol: Callable[[], Any],
        trusts: Callable[[str], bool],
        waiting: set[Any],
        seconds: float,
    ) -> None:
        """``trusts`` says whether an address is a proxy's. The header must arrive within ``seconds``."""
        self._make_protocol = make_protocol
        self._trusts = trusts
        self._waiting = waiting
        self._seconds = seconds
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple) or not self._trusts(str(peer[0])):
            self._hand_over(None)
            return
        self._waiting.add(self)
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.shutdown)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._received += data
        try:
            header = read_header(self._received)
        except ProxyHeaderError as error:
            peer = self._transport.get_extra_info("peername")[0]
            logging.getLogger("bookserve").warning("%s sent no PROXY protocol header: %s", peer, error)
            self.shutdown()
            return
        if header is not None:
            rest = self._received[header.length :]
            protocol = self._hand_over(header.client)
            if rest:
                protocol.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._end_wait()

    def shutdown(self) -> None:
        """Close the connection, which has had no request yet."""
        self._transport.close()

    def _hand_over(self, client: tuple[str, int] | None) -> Any:
        self._end_wait()
        protocol = self._make_protocol()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if client is not None:
            setattr(protocol, CLIENT, client)
        return protocol

    def _end_wait(self) -> None:
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def accept_proxies(connection: Callable[..., Any], trusts: Callable[[str], bool], seconds: float) -> Callable[..., Any]:
    """What ``uvicorn.Config`` takes as ``http`` in place of the class ``connection``, so that headers are read."""

    def make(**named: Any) -> ProxiedConnection:
        return ProxiedConnection(lambda: connection(**named), trusts, named["server_state"].connections, seconds)

    return make

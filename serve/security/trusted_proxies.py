"""Finds the address of the client behind proxies: only proxies that the operator trusts are believed.

Every proxy appends the address that it was called from to ``X-Forwarded-For`` (or to ``Forwarded``, RFC 7239). What a
client itself writes into these headers is to the left of that. So they are read from the right, past the addresses of
trusted proxies; the first other address is the client's.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from bookserve.errors import InvalidInput

Headers = Sequence[tuple[bytes, bytes]]


class TrustedProxies(msgspec.Struct, frozen=True):
    """The networks of the proxies; by default there are none, and no header is believed."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, listed: str) -> TrustedProxies:
        """From addresses and networks with commas between them, such as ``10.0.0.0/8,127.0.0.1``; '' for none.

        Raises:
            InvalidInput: one is neither.
        """
        networks = []
        for text in [part.strip() for part in listed.split(",")] if listed else []:
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                raise InvalidInput(
                    f"'{text}' is not an address or a network: {error}.", "Write --trusted-proxies 10.0.0.0/8,127.0.0.1"
                ) from error
        return cls(tuple(networks))

    def trusts(self, address: str) -> bool:
        """Whether this IP address is one of a trusted proxy."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found  # a socket for both families shows IPv4 so
        return any(found in network for network in self.networks)

    def client(self, peer: str, headers: Headers) -> str:
        """The client's address, of a request that came from ``peer`` with these headers (names in lower case).

        ``X-Forwarded-For`` counts; where there is none, ``Forwarded``. An entry that is no address ends the search:
        then the client is the last proxy that is known.
        """
        if not self.networks or not self.trusts(peer):
            return peer
        client = peer
        for address in reversed(_forwarded_for(headers)):
            try:
                client = str(ip_address(address))
            except ValueError:
                return client
            if not self.trusts(client):
                return client
        return client


def _forwarded_for(headers: Headers) -> list[str]:
    """The addresses that the headers list, the client's first."""
    lists = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    if lists:
        return [_address(entry) for entry in ",".join(lists).split(",")]
    lists = [value.decode("latin-1") for name, value in headers if name == b"forwarded"]
    return [_forwarded_address(entry) for entry in ",".join(lists).split(",")] if lists else []


def _forwarded_address(entry: str) -> str:
    """The address of one element of ``Forwarded``, such as ``for="[2001:db8::1]:4711";proto=https``; '' without one."""
    for pair in entry.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return _address(value.strip('"'))
    return ""


def _address(text: str) -> str:
    """The address without brackets and port."""
    text = text.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text

"""Whose word for the client's address is believed."""

from __future__ import annotations

import pytest

from bookserve.errors import InvalidInput
from serve.security.trusted_proxies import TrustedProxies

PROXIES = TrustedProxies.parse("10.0.0.0/8, 192.0.2.7,2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("203.0.113.9", {}, "203.0.113.9"),
        ("203.0.113.9", {"x-forwarded-for": "1.2.3.4"}, "203.0.113.9"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
        ("::ffff:10.0.0.1", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
        # What the client wrote itself is to the left of what the first proxy saw.
        ("10.0.0.1", {"x-forwarded-for": "9.9.9.9, 1.2.3.4, 192.0.2.7"}, "1.2.3.4"),
        ("10.0.0.1", {"x-forwarded-for": "10.1.1.1, 10.2.2.2"}, "10.1.1.1"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4, nonsense, 10.2.2.2"}, "10.2.2.2"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4\n200"}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4:5678"}, "1.2.3.4"),
        ("10.0.0.1", {"x-forwarded-for": "[2001:470::1]:443"}, "2001:470::1"),
        ("10.0.0.1", {"forwarded": 'for="[2001:470::1]:443";proto=https, for=10.9.9.9;by=x'}, "2001:470::1"),
        ("10.0.0.1", {"forwarded": "for=unknown"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "proto=https"}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4", "forwarded": "for=9.9.9.9"}, "1.2.3.4"),
        ("-", {"x-forwarded-for": "1.2.3.4"}, "-"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(peer: str, headers: dict[str, str], client: str) -> None:
    assert PROXIES.client(peer, [(name.encode(), value.encode()) for name, value in headers.items()]) == client


def test_several_headers_are_one_list() -> None:
    headers = [(b"x-forwarded-for", b"9.9.9.9"), (b"x-forwarded-for", b"1.2.3.4")]
    assert PROXIES.client("10.0.0.1", headers) == "1.2.3.4"


def test_without_proxies_no_header_is_believed() -> None:
    assert TrustedProxies.parse("").client("127.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")]) == "127.0.0.1"


@pytest.mark.parametrize("listed", ["10.0.0.1/8", "localhost", "10.0.0.1,", "*"])
def test_what_is_no_network_is_refused(listed: str) -> None:
    with pytest.raises(InvalidInput, match="is not an address or a network"):
        TrustedProxies.parse(listed)

"""Finds out whether a machine can be reached from outside a private network."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: Linux's ioctl for the IPv4 address of an interface.
_SIOCGIFADDR = 0x8915


def interface_addresses() -> list[str]:
    """The addresses of this machine's interfaces: the first IPv4 address of each, and all of IPv6."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    with suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    return found


def public(addresses: Iterable[str]) -> list[str]:
    """Those of the addresses that are not private: anyone on the internet may reach them."""
    return [address for address in addresses if not ipaddress.ip_address(address).is_private]

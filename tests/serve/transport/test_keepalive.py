"""Both gRPC servers accept clients that ping every second, also while they call nothing."""

from __future__ import annotations

import socket
import struct
import time

from tests.servers import Server

PING, GOAWAY = 6, 7
PINGS = 5


def frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


def kinds(received: bytes) -> list[tuple[int, int]]:
    """Type and flags of the frames in these bytes."""
    found = []
    while len(received) >= 9:
        length = int.from_bytes(received[:3], "big")
        found.append((received[3], received[4]))
        received = received[9 + length :]
    return found


def test_pings_without_calls_are_answered(any_server: Server) -> None:
    host, port = any_server.grpc_target.split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4) + frame(4, 1))
        for _ in range(PINGS):
            time.sleep(0.6)  # more often than every second
            raw.sendall(frame(PING, payload=bytes(8)))
        received = b""
        raw.settimeout(10)
        while kinds(received).count((PING, 1)) < PINGS:
            part = raw.recv(65_536)
            assert part, f"the server closed the connection after {kinds(received)}"
            received += part
    assert GOAWAY not in [kind for kind, _ in kinds(received)]

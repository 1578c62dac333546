"""Listening sockets: what the connections that they accept inherit."""

from __future__ import annotations

import socket

import pytest

from serve.transport.http2.config import Config
from serve.transport.http2.server import Server
from serve.transport.sockets import bind_tcp


def sends_at_once(listener: socket.socket) -> bool:
    """Whether a connection that it accepts sends small pieces without waiting for acknowledgements."""
    listener.listen()
    with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
        return bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


@pytest.mark.parametrize("shared", [False, True])
def test_connections_send_small_pieces_at_once(shared: bool) -> None:
    with bind_tcp("HTTP", "127.0.0.1", 0, shared) as listener:
        assert sends_at_once(listener)


def test_the_grpc_server_sends_small_pieces_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Server(Config()).listen(listener)
        assert sends_at_once(listener)

"""Addresses where nobody answers, where something else does, and servers that go away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bookserve.client import Client, connect
from bookserve.errors import Failed, InvalidInput, NotFound, NotReady
from tests.servers import start

WIRES = ["http", "grpc"]


@contextmanager
def stranger(reply: bytes) -> Iterator[int]:
    """Something on a port that gives every caller ``reply`` and hangs up; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                caller.recv(65536)
                caller.sendall(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def every_call(client: Client) -> Iterator[str]:
    """Message of the NotReady that each call ends in."""
    for call in (
        client.models,
        lambda: client.predict("affine", [[1, 2, 3]]),
        lambda: list(client.generate("writer")),
        lambda: client.sample("plane"),
    ):
        with pytest.raises(NotReady) as caught:
            call()
        assert caught.value.hint
        yield caught.value.message


@pytest.mark.parametrize("scheme", WIRES)
def test_nobody_is_there(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with connect(f"{scheme}://127.0.0.1:{port}") as client:
        for message in every_call(client):
            assert f"cannot reach {scheme}://127.0.0.1:{port}" in message
            assert "refused" in message


@pytest.mark.parametrize("scheme", WIRES)
@pytest.mark.parametrize(
    "reply",
    [
        b"220 mail.example ready\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>hi</p>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{"models": 12}',
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nConnection: close\r\n\r\n404",
        b'HTTP/1.1 500 Oops\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{"error":"no"}',
    ],
)
def test_something_else_is_there(scheme: str, reply: bytes) -> None:
    with stranger(reply) as port, connect(f"{scheme}://127.0.0.1:{port}", retries=0) as client:
        for message in every_call(client):
            assert f"{scheme}://127.0.0.1:{port}" in message


@pytest.mark.parametrize("scheme", WIRES)
def test_the_doors_are_not_each_others(scheme: str, models: Path) -> None:
    """gRPC spoken to the HTTP port, and the other way round."""
    with start(models) as server:
        other = server.grpc if scheme == "http" else server.http
        with connect(f"{scheme}://{other.partition('://')[2]}") as client:
            assert len(list(every_call(client))) == 4


@pytest.mark.parametrize("scheme", WIRES)
def test_a_text_that_breaks_off_is_a_failure(scheme: str, models: Path) -> None:
    with start(models) as server, connect(getattr(server, scheme)) as client:
        text = client.generate("writer", length=100_000)
        assert next(text)
        server.process.kill()
        with pytest.raises(Failed, match="broke off"):
            list(text)
        assert len(list(every_call(client))) == 4


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://host", "http:", "http://", "grpc://", "local:", "host:8501", "http://host:port"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidInput, match="is not an address"):
        connect(url)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        connect(f"local:{tmp_path}/nowhere")
    with connect(f"local:{tmp_path}") as client:
        assert client.models() == []

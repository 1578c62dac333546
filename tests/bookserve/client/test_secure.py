"""Servers with TLS, API keys and Unix sockets, called by the client and by the command line."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from bookserve.cli.main import main
from bookserve.client import connect
from bookserve.errors import BookserveError, NotReady
from tests.servers import Server, start

pytestmark = [
    pytest.mark.slow,  # starts servers
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]
KEY = "a-key-of-more-than-16-characters"
SCHEMES = ("http", "grpc")
ROWS, EXPECTED = [[1, 2, 3]], [3, 5, 7]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates signed by themselves: ``server`` for 127.0.0.1 and localhost, and ``client``."""
    place = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
            ],
            cwd=place,
            check=True,
            capture_output=True,
        )
    both = (place / "client.pem").read_bytes() + (place / "client.key").read_bytes()
    (place / "both.pem").write_bytes(both)
    (place / "keys").write_text(KEY)
    return place


@pytest.fixture(scope="module")
def guarded(models: Path, home: Path) -> Iterator[Server]:
    """A server that wants a key and a client's certificate, also on Unix sockets."""
    tls = ("--tls-certificate", str(home / "server.pem"), "--tls-key", str(home / "server.key"))
    with start(models, *tls, "--tls-client-ca", str(home / "client.pem"), "--api-key-file", str(home / "keys")) as it:
        yield it


@pytest.mark.parametrize("wire", SCHEMES)
def test_a_key_and_certificates_open_the_server(wire: str, guarded: Server, home: Path) -> None:
    given: dict[str, Any] = {"api_key": KEY, "ca": home / "server.pem", "cert": home / "both.pem"}
    with connect(getattr(guarded, wire), **given) as client:
        assert client.predict("affine", ROWS)[0]["y"].tolist() == EXPECTED
        assert "".join(client.generate("writer", length=3, temperature=0)) == "dea"
        assert client.sample("plane", n=2).images.shape == (2, 4, 4, 1)
        assert len(client.models()) == 6
    given = {"headers": {"X-API-Key": KEY}, "ca": str(home / "server.pem")}
    pair = {"cert": str(home / "client.pem"), "key": str(home / "client.key")}
    with connect(getattr(guarded, wire), **given, **pair) as client:
        assert client.predict("affine", ROWS)[0]["y"].tolist() == EXPECTED


@pytest.mark.parametrize("wire", SCHEMES)
def test_without_one_of_them_it_says_what_is_missing(wire: str, guarded: Server, home: Path) -> None:
    address = getattr(guarded, wire)
    trusted = {"ca": home / "server.pem", "cert": home / "both.pem"}
    with connect(address, **trusted) as client:
        for call in (client.models, lambda: list(client.generate("writer")), lambda: client.sample("plane")):
            with pytest.raises(BookserveError, match="API key is needed"):
                call()
    for lacking in ("ca", "cert"):
        left = {name: path for name, path in trusted.items() if name != lacking}
        with connect(address, api_key=KEY, **left) as client, pytest.raises(NotReady) as caught:
            client.models()
        if lacking == "ca":
            assert "secure connection" in caught.value.message
            assert "ca=FILE" in caught.value.hint


@pytest.mark.parametrize("wire", SCHEMES)
@pytest.mark.parametrize("by", ["options", "environment"])
def test_the_command_line_has_the_same_options(
    wire: str,
    by: str,
    guarded: Server,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {
        "--url": getattr(guarded, wire),
        "--header": f"X-API-Key: {KEY}",
        "--ca": str(home / "server.pem"),
        "--cert": str(home / "client.pem"),
        "--key": str(home / "client.key"),
        "--timeout": "20",
    }
    words = ["bookserve", "predict", "affine", "[1, 2, 3]", "--json"]
    if by == "options":
        words += [word for pair in given.items() for word in pair]
    else:
        for name, value in given.items():
            monkeypatch.setenv(f"BOOKSERVE_{name.strip('-').upper()}", value)
    monkeypatch.setattr("sys.argv", words)
    main()
    assert json.loads(capsys.readouterr().out) == [{"y": EXPECTED}]


@pytest.mark.parametrize("scheme", ["unix", "grpc+unix"])
def test_unix_sockets(scheme: str, models: Path, tmp_path: Path) -> None:
    paths = {"unix": tmp_path / "http.sock", "grpc+unix": tmp_path / "grpc.sock"}
    with start(models, "--http-socket", str(paths["unix"]), "--grpc-socket", str(paths["grpc+unix"])):
        for address in (f"{scheme}:{paths[scheme]}", f"{scheme}://{paths[scheme]}"):
            with connect(address) as client:
                assert client.predict("affine", ROWS)[0]["y"].tolist() == EXPECTED
    cannot = rf"cannot reach {scheme.replace('+', '.')}:.*nowhere"
    with connect(f"{scheme}:{tmp_path}/nowhere", retries=0) as client, pytest.raises(NotReady, match=cannot):
        client.models()


@pytest.fixture
def moody() -> Iterator[Callable[..., tuple[str, list[int]]]]:
    """An HTTP server that gives each status in turn, then an empty list of models; with the statuses it has given."""
    running: list[HTTPServer] = []

    def serve(*statuses: int) -> tuple[str, list[int]]:
        waiting, given = list(statuses), []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = waiting.pop(0) if waiting else 200
                given.append(status)
                body = b'{"models": []}'
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        running.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{running[-1].server_port}", given

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def test_a_busy_server_is_asked_again(moody: Callable[..., tuple[str, list[int]]]) -> None:
    address, given = moody(503, 429)
    with connect(address) as client:
        assert client.models() == []
    assert given == [503, 429, 200]
    address, given = moody(503)
    with connect(address, retries=0) as client, pytest.raises(NotReady, match="answered 503"):
        client.models()
    address, given = moody(500)
    with connect(address) as client, pytest.raises(NotReady, match="not bookserve"):
        client.models()
    assert given == [500]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_does_not_answer(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with connect(address, timeout=0.2) as client, pytest.raises(NotReady, match="did not answer in time"):
            client.predict("affine", ROWS)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("rows", [1, 5000])
def test_interrupting_a_prediction_exits_with_130(rows: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "bookserve", "predict", "affine", "-", "--url", address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdin
            process.stdin.write("1,2,3\n" * rows)
            process.stdin.close()
            caller, _ = silent.accept()  # it waits for its answer now
            with caller:
                assert process.stderr
                process.send_signal(signal.SIGINT)
                said = process.stderr.read()
                assert process.wait(30) == 130
    assert said.strip() == "interrupted"

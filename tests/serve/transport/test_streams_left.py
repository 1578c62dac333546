"""Readers who leave streams in every way leave no error in the server's log."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serve.processes import read, started

pytestmark = pytest.mark.slow  # starts a server

STREAMS: list[tuple[str, Any]] = [
    ("/openai/v1/completions", {"model": "writer", "prompt": "abc", "max_tokens": 100_000, "stream": True}),
    ("/openai/v1/completions", {"model": "writer", "prompt": ["a", "b"], "max_tokens": 50_000, "stream": True, "n": 3}),
    ("/v2/models/writer/generate_stream", {"text_input": "abc", "parameters": {"max_tokens": 100_000}}),
    ("/api/models/writer/generate", {"prompt": "abc", "length": 100_000, "stream": True}),
    ("/api/models/writer/generate", {"prompt": "abc", "length": 30, "stream": True}),
]


def leave(address: Any, path: str, body: Any, turn: int) -> None:
    """Ask for a stream, read a little of it, and close the connection in one of several ways."""
    content = json.dumps(body).encode()
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
    with socket.create_connection((address.hostname, address.port)) as raw:
        raw.sendall(request)
        raw.recv(100 + 701 * (turn % 7))
        if turn % 3 == 0:
            raw.sendall(request)  # a second request, which waits for the end of the first
        if turn % 2:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset


def test_no_error_is_logged(models: Path) -> None:
    with started(models, "--json") as process:
        url = read(process)["http"]
        for turn in range(120):
            leave(urlsplit(url), *STREAMS[turn % len(STREAMS)], turn)
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            body = {"prompt": "abc", "length": 5, "temperature": 0}
            assert http.post("/api/models/writer/generate", json=body).json()["text"] == "deabc"
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert "ERROR" not in log
    assert "Traceback" not in log

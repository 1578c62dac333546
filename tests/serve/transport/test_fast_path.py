"""The HTTP fast path answers as the application does, and keeps to HTTP."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest

from serve.transport.http.fast_path import MAX_FAST_BODY
from tests.serve.transport.http_peer import post
from tests.servers import Server, start

pytestmark = pytest.mark.slow  # starts servers

X = np.array([[1, 2, 3]], np.float32)
INFER = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]}
).encode()
AFFINE = "/v1/models/affine:predict"
ROWS = b'{"instances": [[1, 2, 3]]}'


def speak(server: Server, *parts: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """What comes back on one connection for bytes that are sent as they are."""
    where = urlsplit(server.http)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        reader = connection.makefile("rb")
        found = []
        for _ in range(answers):
            status = int(reader.readline().split()[1])
            headers = {}
            while line := reader.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name] = value
            found.append((status, headers, reader.read(int(headers["content-length"]))))
        if found[-1][1].get("connection") == "close":
            assert reader.read() == b""
        return found


def in_json(data: np.ndarray) -> bytes:
    """A request for 10,000 rows, whatever they are."""
    return json.dumps(
        {"inputs": [{"name": "x", "shape": [10_000, 3], "datatype": "FP32", "data": data.tolist()}]}
    ).encode()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (AFFINE, ROWS, ()),
        (AFFINE, b'{"inputs": [[1, 2, 3], [4, 5, 6.5]]}', ()),
        ("/v1/models/affine/versions/1:predict", ROWS, ()),
        ("/v1/models/affine/versions/9:predict", ROWS, ()),
        ("/v1/models/nobody:predict", ROWS, ()),
        ("/V1/Models/affine:PREDICT", ROWS, ()),
        (AFFINE, b'{"instances": [[1, 2]]}', ()),
        (AFFINE, b'{"instances": [[1, 2, "3"]]}', ()),
        (AFFINE, b'{"instances": [[1, 2, NaN]]}', ()),
        (AFFINE, b'{"instances": [[1, [2], 3]]}', ()),
        (AFFINE, b"", ()),
        (AFFINE, b'{"instances": [[' + b"1" * MAX_FAST_BODY + b", 2, 3]]}", ()),
        (AFFINE, b'{"instances": [' + b"[1, 2, 3]," * 9000 + b"[1, 2, 3]]}", ()),
        ("/v2/models/affine/infer", INFER + X.tobytes(), (f"Inference-Header-Content-Length: {len(INFER)}",)),
        ("/v2/models/affine/infer", X.tobytes(), ("Inference-Header-Content-Length: 0",)),
        ("/v2/models/affine/infer", INFER + b"short", (f"Inference-Header-Content-Length: {len(INFER)}",)),
        ("/v2/models/affine/infer", INFER, ("Inference-Header-Content-Length: 99999",)),
        ("/v2/models/affine/versions/7/infer", INFER, ()),
        ("/v2/models/affine/infer", b"{", ()),
        ("/v2/models/affine/infer", in_json(np.arange(30_000)), ()),
        ("/v2/models/affine/infer", in_json(np.arange(30_000).reshape(-1, 3)), ()),
        ("/v2/models/affine/infer", in_json(np.arange(29_999)), ()),
        ("/v2/models/affine/infer", X.tobytes() * 10_000, ("Inference-Header-Content-Length: 0",)),
        ("/v2/models/affine/infer", X.tobytes() * 10_000, ("Inference-Header-Content-Length: 1000000",)),
        ("/v2/models/affine/infer", X.tobytes() * 10_000, ("Inference-Header-Content-Length: 20000",)),
    ],
)
def test_it_answers_as_the_application_does(server: Server, path: str, body: bytes, headers: tuple[str, ...]) -> None:
    ((status, short, content),) = speak(server, post(path, body, *headers))
    ((expected, usual, same),) = speak(server, post(path, body, *headers, "X-Unusual: 1"))
    assert (status, content) == (expected, same)
    for name in ("content-type", "inference-header-content-length", "content-length"):
        assert short.get(name) == usual.get(name)


def test_requests_in_a_row_are_answered_in_their_order(server: Server) -> None:
    bodies = [b'{"instances": [[%d, 0, 0]]}' % number for number in range(20)]
    requests = [post(AFFINE, body, *(["X-Unusual: 1"] if n % 3 == 0 else [])) for n, body in enumerate(bodies)]
    answers = speak(server, b"".join(requests), answers=20)
    assert [json.loads(content)["predictions"][0][0] for _, _, content in answers] == [1 + 2 * n for n in range(20)]


def test_a_request_may_come_in_pieces(server: Server) -> None:
    request = post(AFFINE, ROWS)
    ((status, _, content),) = speak(server, *(request[place : place + 7] for place in range(0, len(request), 7)))
    assert (status, json.loads(content)) == (200, {"predictions": [[3.0, 5.0, 7.0]]})


def test_a_connection_ends_when_the_client_wants_it(server: Server) -> None:
    ((status, headers, _),) = speak(server, post(AFFINE, ROWS, "Connection: close"))
    assert (status, headers["connection"]) == (200, "close")


def test_expect_100_continue_is_answered(server: Server) -> None:
    where = urlsplit(server.http)
    head, _, body = post(AFFINE, ROWS, "Expect: 100-continue").partition(b"\r\n\r\n")
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_fast_path_responses_are_counted(models: Path) -> None:
    with start(models) as server, httpx.Client(base_url=server.http, trust_env=False) as http:
        names = {http.post(AFFINE, content=ROWS).headers["x-request-id"] for _ in range(3)}
        assert len(names) == 3
        lines = http.get("/metrics").text.splitlines()
    (counted,) = [line for line in lines if line.startswith("bookserve_requests_total{")]
    for label in ('code="ok"', 'model="affine"', 'protocol="tfs/http"'):
        assert label in counted
    assert counted.endswith(" 3.0")
    assert 'bookserve_responses_total{code="200",protocol="tfs/http"} 3.0' in sorted(lines)


def test_fast_path_and_application_count_alike(models: Path) -> None:
    head = f"Inference-Header-Content-Length: {len(INFER)}"
    asked = [
        *[(AFFINE, ROWS)] * 3,
        (AFFINE, b'{"instances": [[1, 2]]}'),
        (AFFINE, b'{"instances": [[1, 2, 3]]'),
        ("/v1/models/nobody:predict", ROWS),
        *[("/v2/models/affine/infer", INFER + X.tobytes(), head)] * 2,
        ("/v2/models/affine/infer", INFER.replace(b"[1, 3]", b"[3, 1]") + X.tobytes(), head),
        ("/v2/models/affine/infer", INFER + b"short", head),
        ("/v2/models/nobody/infer", INFER + X.tobytes(), head),
    ]
    counted = []
    for more in ((), ("X-Unusual: 1",)):
        with start(models) as server, httpx.Client(base_url=server.http, trust_env=False) as http:
            for path, body, *headers in asked:
                speak(server, post(path, body, *headers, *more))
            lines = http.get("/metrics").text.splitlines()
            total = "bookserve_requests_total{", "bookserve_responses_total{", "bookserve_request_seconds_count{"
            counted.append(sorted(line for line in lines if line.startswith(total)))
    assert counted[0] == counted[1]
    assert len(counted[0]) >= 5


def test_no_body_is_longer_than_the_server_allows(models: Path) -> None:
    body = in_json(np.arange(300_000))
    assert 2**20 < len(body) < MAX_FAST_BODY
    with start(models, "--max-body", "1") as server:
        ((status, _, _),) = speak(server, post("/v2/models/affine/infer", body))
    assert status == 413


def test_idle_connections_keep_no_bodies(models: Path) -> None:
    """Half of 64 that sent 2.9 MiB each would hold 92 MiB."""
    request = post(AFFINE, b'{"instances": [' + b"[1, 2, 3]," * 300_000 + b"[1, 2, 3]]}")
    assert 3 * 2**20 > len(request) > 2 * 2**20
    with start(models) as server, ExitStack() as stack:
        where = urlsplit(server.http)
        process = psutil.Process(server.process.pid)
        grown = []
        for _ in range(2):
            for _ in range(32):
                connection = stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60))
                connection.sendall(request)
                reader = connection.makefile("rb")
                assert reader.readline().split()[1] == b"200"
                while reader.readline().strip():
                    pass
                while size := int(reader.readline(), 16):  # a long answer comes in chunks
                    reader.read(size + 2)
                reader.readline()
            grown.append(process.memory_info().rss)
    assert grown[1] - grown[0] < 32 * 2**20

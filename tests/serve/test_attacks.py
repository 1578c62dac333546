"""Requests that are meant to break a server: each is refused in words, and whoever asks next is answered."""

from __future__ import annotations

import gzip
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import pytest

from serve.tfs import tfs_pb2 as tfs
from serve.v2 import v2_pb2 as v2
from tests.servers import Server, start

PREDICT = "/tensorflow.serving.PredictionService/Predict"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
DOORS = ["/v1/models/affine:predict", "/v2/models/affine/infer", "/api/models/affine/predict"]
#: Seconds that the server of these tests waits for a request to arrive.
PATIENCE = 2


@pytest.fixture(scope="module")
def narrow(models: Path) -> Iterator[Server]:
    """A server with small limits; it must live to the end of this module."""
    options = "--max-body 1 --max-inflated 1 --max-head 8 --max-depth 8 --max-elements 1000 --max-streams 4"
    with start(models, *options.split(), "--read-timeout", str(PATIENCE)) as running:
        yield running
        assert running.process.poll() is None


@pytest.fixture
def client(narrow: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=narrow.http, trust_env=False, timeout=60) as opened:
        yield opened
        reply = opened.post("/v1/models/affine:predict", content=b'{"instances": [[0, 1, 2]]}')
        assert reply.json() == {"predictions": [[1, 3, 5]]}


@pytest.fixture
def calls(narrow: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(narrow.grpc_target, [("grpc.enable_http_proxy", 0)]) as opened:
        yield opened


def connect(server: Server) -> socket.socket:
    where = urlsplit(server.http)
    return socket.create_connection((where.hostname, where.port), timeout=30)


def read(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return found
        if not piece:
            return found
        found += piece


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_too_large_is_refused_declared_or_not(client: httpx.Client, path: str, declared: bool) -> None:
    pieces = (b" " * 65_536 for _ in range(40))
    reply = client.post(path, content=b" " * 2**21 if declared else pieces)
    assert reply.status_code == 413
    assert "larger than 1,048,576 bytes" in reply.text


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_bomb_is_not_inflated(client: httpx.Client, path: str, rounds: int) -> None:
    bomb = gzip.compress(b"0" * (20 * 2**20), 9)
    for _ in range(rounds - 1):
        bomb = gzip.compress(bomb)
    coding = ", ".join(["gzip"] * rounds)
    reply = client.post(path, content=bomb, headers={"content-encoding": coding})
    assert reply.status_code == (413 if rounds == 1 else 400)


def test_a_flood_of_tiny_chunks(narrow: Server, client: httpx.Client) -> None:
    """Half a million chunks of one byte: 3 MB on the wire."""
    body = b'{"instances": [[0, 1, 2]]}'.ljust(500_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with connect(narrow) as connection:
        head = b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        answer = read(connection)
    assert status(answer) == 200
    assert answer.endswith(b'{"predictions":[[1.0,3.0,5.0]]}')


ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X-Long: " + b"a" * 9000 + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(2000)) + b"\r\n",
        b"GET /v1/models/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"X-Endless: " + b"a" * 2**20,
        b"GET /" + b"a" * 2**20,
    ],
    ids=["value", "number", "path", "endless value", "endless path"],
)
def test_a_head_too_long_is_refused(narrow: Server, client: httpx.Client, head: bytes) -> None:
    with connect(narrow) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have closed already
            connection.sendall(head)
        answer = read(connection)
    assert not answer or status(answer) == 431  # what is sent after the answer may drown it


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        HEAD + b"X\0: a\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        HEAD + b" folded: a\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_what_is_no_http_is_refused(narrow: Server, client: httpx.Client, head: bytes) -> None:
    with connect(narrow) as connection:
        connection.sendall(head)
        assert status(read(connection)) in (400, 408, 505)


@pytest.mark.parametrize(
    ("parts", "answered"),
    [
        ([b""], b""),
        ([b"G"], b" 408 "),
        ([b"GET / HTTP/1.1\r\n", *[b"X-%d: a\r\n" % number for number in range(100)]], b" 408 "),
        ([HEAD + b"Content-Length: 1000\r\n\r\n", *[b" "] * 100], b" 408 "),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 100], b" 408 "),
        ([ALIVE, *[b"\r\n"] * 100], b" 200 "),
        ([ALIVE, b"GET /healthz HTTP/1.1\r\nHost:", *[b"x"] * 100], b" 408 "),
    ],
    ids=["nothing", "one byte", "slow head", "slow body", "slow chunks", "empty lines", "slow second request"],
)
def test_a_slow_client_is_sent_away(narrow: Server, client: httpx.Client, parts: list[bytes], answered: bytes) -> None:
    """And it keeps nobody waiting meanwhile: others are answered while it dawdles."""
    answer = b""
    with connect(narrow) as connection:
        connection.sendall(parts[0])
        for part in parts[1:]:
            assert client.get("/healthz").status_code == 200
            if select.select([connection], [], [], 0.2)[0]:
                piece = connection.recv(65_536)
                answer += piece
                if not piece or b" 408 " in answer:
                    break
            connection.sendall(part)
        answer += read(connection)
    assert answered in answer


def test_a_request_that_takes_its_time_within_the_limit_is_answered(narrow: Server) -> None:
    request = b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
    with connect(narrow) as connection:
        for part in (request[:20], request[20:], b'{"instances": ', b"[[0, 1, 2]]}"):
            connection.sendall(part)
            time.sleep(0.3)
        assert status(read(connection)) == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/affine:predict", b'{"instances": ' + b"[" * 8 + b"]" * 8 + b"}"),
        ("/v1/models/affine:classify", b'{"examples": [' + b'{"x":' * 8 + b"1" + b"}" * 8 + b"]}"),
        ("/v2/models/affine/infer", b'{"inputs": ' + b'[{"a":' * 5 + b"1" + b"}]" * 5 + b"}"),
        ("/v2/models/affine/infer", b"[" * 100_000),
        ("/api/models/affine/predict", b'{"rows": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
def test_deep_nesting_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    reply = client.post(path, content=body)
    assert reply.status_code == 400
    assert "nest" in reply.text or "JSON" in reply.text


def tensor(*sizes: int) -> tfs.TensorProto:
    shape = tfs.TensorShapeProto(dim=[tfs.TensorShapeProto.Dim(size=size) for size in sizes])
    return tfs.TensorProto(dtype=tfs.DT_FLOAT, tensor_shape=shape, float_val=[1])


@pytest.mark.parametrize("sizes", [(334, 3), (2**62, 3), (2**62, 2**62), (2**63 - 1,) * 30, (-1, 3), (1,) * 1000])
def test_one_element_does_not_stand_for_too_many(calls: grpc.Channel, client: httpx.Client, sizes: Any) -> None:
    request = tfs.PredictRequest(model_spec=tfs.ModelSpec(name="affine"), inputs={"x": tensor(*sizes)})
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(PREDICT)(request.SerializeToString(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", [PREDICT, INFER, STREAM])
def test_a_message_too_large_is_refused(calls: grpc.Channel, client: httpx.Client, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        if method == STREAM:
            list(calls.stream_stream(method)(iter([b"\0" * 2**21]), timeout=30))
        else:
            calls.unary_unary(method)(b"\0" * 2**21, timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metadata_too_long_is_refused(calls: grpc.Channel, client: httpx.Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(INFER)(b"", timeout=30, metadata=[("x-long", "a" * 20_000)])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_connection_has_so_many_calls_open_and_no_more(calls: grpc.Channel, client: httpx.Client) -> None:
    done = threading.Event()

    def wait() -> Iterator[bytes]:
        done.wait(60)
        yield from ()

    streams = [calls.stream_stream(STREAM)(wait(), timeout=60) for _ in range(4)]
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(INFER)(b"", timeout=1.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for stream in streams:
        stream.cancel()
    done.set()
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(INFER)(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


#: Names by which other servers could be led out of their directory of models.
NAMES = [
    "..",
    "../affine",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%2e%2e%2faffine",
    "%252e%252e%252faffine",
    "..%5c..%5caffine",
    "affine%00",
    "affine%00.onnx",
    "%2fetc%2fpasswd",
    "C:%5cWindows",
    "affine%0d%0aX-Injected:%20yes",
    "file:%2f%2f%2fetc",
    "%ff%fe",
    "a" * 3000,
    "affine%2f1",
    "affine/./",
    "%EF%BC%8E%EF%BC%8E",
    ".writing-x",
    "~root",
    "$(id)",
    "*",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_models(narrow: Server, client: httpx.Client, models: Path, name: str) -> None:
    with connect(narrow) as connection:  # a client that does not tidy the path up
        for method, path in (
            ("GET", f"/v1/models/{name}"),
            ("GET", f"/v1/models/{name}/metadata"),
            ("POST", f"/v1/models/{name}:predict"),
            ("POST", f"/v1/models/affine/labels/{name}:predict"),
            ("POST", f"/v1/models/affine/versions/{name}:predict"),
            ("GET", f"/v2/models/{name}"),
            ("GET", f"/v2/models/affine/versions/{name}"),
            ("GET", f"/v2/models/{name}/ready"),
            ("GET", f"/v2/models/{name}/stats"),
            ("POST", f"/v2/models/{name}/infer"),
            ("POST", f"/v2/repository/models/{name}/load"),
            ("GET", f"/api/models/{name}"),
            ("POST", f"/api/models/{name}/predict"),
        ):
            body = b"{}" if method == "POST" else b""
            connection.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < size(answer):
                answer += connection.recv(65_536)
            assert status(answer) in (400, 403, 404), (method, path, answer)
            assert b"\r\nX-Injected" not in answer.partition(b"\r\n\r\n")[0]
            for secret in (str(models), "Traceback", "site-packages", "root:x:"):
                assert secret.encode() not in answer


def size(answer: bytes) -> int:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])


@pytest.mark.parametrize(
    "name", ["..", "../affine", "a\0b", "/etc/passwd", "..\\affine", "\u202eaffine", "a" * 100_000]
)
def test_no_name_leads_out_over_grpc(calls: grpc.Channel, client: httpx.Client, models: Path, name: str) -> None:
    spec = tfs.ModelSpec(name=name)
    for method, request in (
        (PREDICT, tfs.PredictRequest(model_spec=spec)),
        (PREDICT, tfs.PredictRequest(model_spec=tfs.ModelSpec(name="affine", version_label=name))),
        (
            "/tensorflow.serving.ModelService/GetModelStatus",
            tfs.GetModelStatusRequest(model_spec=spec),
        ),
        (INFER, v2.ModelInferRequest(model_name=name)),
        (INFER, v2.ModelInferRequest(model_name="affine", model_version=name)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            calls.unary_unary(method)(request.SerializeToString(), timeout=30)
        assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        assert str(models) not in caught.value.details()


@pytest.mark.parametrize("method", [PREDICT, INFER])
def test_a_name_that_is_no_text(calls: grpc.Channel, client: httpx.Client, method: str) -> None:
    spoiled = b"\x0a\x02\xff\xfe"  # field 1, two bytes that are not UTF-8
    data = b"\x0a\x04" + spoiled if method == PREDICT else spoiled
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(method)(data, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_bad_row_does_not_spoil_its_neighbours(client: httpx.Client) -> None:
    """Requests of one moment run as one batch; the index 9 is beyond the model's table."""

    def ask(index: int) -> tuple[int, Any]:
        rows = [[0, 1, 9 if index % 4 == 0 else 2]]
        reply = client.post("/v1/models/writer:predict", content=json.dumps({"instances": rows}).encode())
        return reply.status_code, reply.json().get("predictions")

    good = ask(1)
    assert good[0] == 200
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(128)))
    assert [answer[0] for answer in answers] == [400, 200, 200, 200] * 32
    assert all(np.allclose(rows, good[1]) for code, rows in answers if code == 200)

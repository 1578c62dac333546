"""Bodies and messages that are too large, too deep or spoiled: refused in words, and whoever asks next is answered."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from bookserve.api import tfserving_pb2 as tfs
from tests.serve.attacks.wire import INFER, PREDICT, STREAM

PATHS = ["/v1/models/affine:predict", "/v2/models/affine/infer", "/api/models/affine/predict"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_too_large_is_refused_declared_or_not(client: httpx.Client, path: str, declared: bool) -> None:
    pieces = (b" " * 65_536 for _ in range(40))
    reply = client.post(path, content=b" " * 2**21 if declared else pieces)
    assert reply.status_code == 413
    assert "larger than 1,048,576 bytes" in reply.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_bomb_is_not_inflated(client: httpx.Client, path: str, rounds: int) -> None:
    bomb = gzip.compress(b"0" * (20 * 2**20), 9)
    for _ in range(rounds - 1):
        bomb = gzip.compress(bomb)
    coding = ", ".join(["gzip"] * rounds)
    reply = client.post(path, content=bomb, headers={"content-encoding": coding})
    assert reply.status_code == (413 if rounds == 1 else 400)


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
        yield b""
        done.wait(60)

    streams = [calls.stream_stream(STREAM)(wait(), timeout=60) for _ in range(4)]
    for stream in streams:
        assert b"unknown model" in next(stream)  # so it is open
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(INFER)(b"", timeout=1.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for stream in streams:
        stream.cancel()
    done.set()
    with pytest.raises(grpc.RpcError) as caught:
        calls.unary_unary(INFER)(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


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

"""Names that are meant to lead out of the directory of models: none does."""

from __future__ import annotations

from pathlib import Path

import grpc
import httpx
import pytest

from bookserve.api import oip_pb2 as v2
from bookserve.api import tfserving_pb2 as tfs
from tests.serve.attacks.wire import INFER, PREDICT, connect, size, status
from tests.servers import Server

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

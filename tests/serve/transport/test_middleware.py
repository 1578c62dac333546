"""What every request passes before its protocol: keys, ids and time limits, over HTTP and gRPC, at a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from bookserve.errors import InvalidInput, NotFound
from serve.security.api_keys import ApiKeys
from tests.serve.metrics import requests as counted
from tests.serve.processes import read, started, wait_for
from tests.servers import GRPC_SERVERS, Server, start

KEY, OTHER = "k" * 32, "another-key-of-someone-else"
ROWS = {"rows": [[1, 2, 3]]}


@pytest.fixture(scope="module", params=GRPC_SERVERS)
def guarded(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# who may ask\n\n{KEY}\n  {OTHER}\n")
    with start(models, "--api-key-file", str(path), "--grpc-server", request.param) as running:
        yield running


def status(server: Server, target: str, method: bytes = b"GET", headers: bytes = b"") -> int:
    """The status of a request whose target is sent as it is, without a client's tidying."""
    import socket

    address = urlsplit(server.http)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(
            method + b" " + target.encode("latin-1") + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-length: 0\r\n" + headers + b"\r\n"
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1])


PATHS = [
    "/docs/",
    "/models",
    "/models/",
    "/models/affine/card",
    "/models/../metrics",
    "/models/%2e%2e%2fmetrics",
    "/static",
    "/static/",
    "/static/../metrics",
    "/static/%2e%2e/metrics",
    "/static/nothing.js",
    "/static//lib/dom.js",
    "/openapi.json",
    "/readyz",
    "/metrics",
    "/api/models",
    "/api/models/affine",
    "/v1/models/affine",
    "/V1/models/affine",
    "/v1/models/affine/metadata",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v1/models/affine:predict",
    "/v2/models/affine",
    "/v2/models/affine/infer",
    "/openai/v1/models",
    "/nothing",
    "/healthz/",
    "//healthz",
    "/healthz/../metrics",
    "/./metrics",
    "/%6detrics",
    "/metrics%00",
    "/metrics?/healthz",
    "/%2e%2e/metrics",
    "/healthz%2f..%2fmetrics",
    "/HEALTHZ",
    "/v1%2fmodels",
    "http://x/metrics",
]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"BREW"])
def test_no_path_and_no_method_passes_without_a_key(guarded: Server, path: str, method: bytes) -> None:
    assert status(guarded, path, method) in (400, 401)  # 400: what the HTTP parser itself refuses
    assert status(guarded, path, method, b"authorization: Bearer wrong\r\n") in (400, 401)


@pytest.mark.slow
def test_no_whole_prediction_passes_without_a_key(guarded: Server) -> None:
    """The commonest requests, which may take a shorter way through the server."""
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    with httpx.Client(base_url=guarded.http, trust_env=False) as http:
        for path, body in (
            ("/v1/models/affine:predict", {"instances": [[1, 2, 3]]}),
            ("/v2/models/affine/infer", {"inputs": [tensor]}),
            ("/api/models/affine/predict", ROWS),
        ):
            assert http.post(path, json=body).status_code == 401
            assert http.post(path, json=body, headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/v1/models/affine", "/v2", "/api/models", "/openapi.json"])
def test_every_face_opens_with_a_key(guarded: Server, path: str) -> None:
    for shown in (f"Authorization: Bearer {KEY}", f"authorization: bearer  {OTHER} ", f"X-API-Key: {OTHER}"):
        assert status(guarded, path, headers=shown.encode() + b"\r\n") == 200
    for shown in (f"Authorization: Basic {KEY}", f"Authorization: {KEY}", f"Cookie: key={KEY}", f"X-API-Key: {KEY}k"):
        assert status(guarded, path, headers=shown.encode() + b"\r\n") == 401
    assert status(guarded, f"{path}?api_key={KEY}") == 401


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/docs", "/models/affine", "/models/nothing", "/static/style.css"])
def test_the_pages_hold_nothing_and_need_no_key(guarded: Server, path: str) -> None:
    assert status(guarded, path) == status(guarded, path, b"HEAD") == 200
    assert status(guarded, path, b"POST") == 401


@pytest.mark.slow
def test_whether_it_lives_anybody_may_ask(guarded: Server) -> None:
    assert status(guarded, "/healthz") == 200
    assert status(guarded, "/healthz?x") == 200


@pytest.mark.slow
def test_a_refusal_says_how_to_show_a_key(guarded: Server) -> None:
    answer = httpx.get(f"{guarded.http}/api/models", trust_env=False)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.json()["error"]["hint"]
    assert "API key" in httpx.get(f"{guarded.http}/v1/models/affine", trust_env=False).json()["error"]


METHODS = [
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/RepositoryIndex",
    "/bookserve.v1.Bookserve/Models",
    "/bookserve.v1.Bookserve/Predict",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/nothing.Here/AtAll",
    "/healthz",
]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_grpc_method_passes_without_a_key(guarded: Server, method: str) -> None:
    with grpc.insecure_channel(guarded.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        for metadata in ((), (("authorization", "Bearer wrong"),), (("x-api-key", ""),)):
            for kind in (channel.unary_unary, channel.unary_stream):
                with pytest.raises(grpc.RpcError) as caught:
                    list(answer) if (answer := kind(method)(b"", metadata=metadata, timeout=30)) else ()
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.slow
def test_grpc_opens_with_a_key(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        for metadata in ((("authorization", f"Bearer {KEY}"),), (("x-api-key", OTHER),)):
            assert channel.unary_unary("/bookserve.v1.Bookserve/Models")(b"", metadata=metadata)
            generate = channel.unary_stream("/bookserve.v1.Bookserve/Generate")
            assert list(generate(b"\x0a\x06writer", metadata=metadata))


@pytest.mark.parametrize("content", ["", "# only words\n", "short\n", f"{KEY}\nshort"])
def test_a_file_without_a_good_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(InvalidInput, match="key"):
        ApiKeys.read(tmp_path / "keys")
    with pytest.raises(NotFound):
        ApiKeys.read(tmp_path / "none")


def test_ids_are_honoured_and_returned(beside: httpx.Client, channel: grpc.Channel) -> None:
    answer = beside.post("/api/models/affine/predict", json=ROWS, headers={"X-Request-Id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    made = [beside.get("/healthz").headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    for bad in ("a" * 129, "with space", "ünicode"):
        assert beside.get("/healthz", headers={"x-request-id": bad.encode()}).headers["x-request-id"] != bad
    _, call = channel.unary_unary("/bookserve.v1.Bookserve/Models").with_call(b"", metadata=(("x-request-id", "mine"),))
    assert dict(call.initial_metadata())["x-request-id"] == "mine"


@pytest.mark.parametrize(("name", "value"), [("X-Request-Timeout", "soon"), ("X-Request-Timeout", "-1"),
                                             ("X-Request-Timeout", "nan"), ("X-Priority", "urgent")])  # fmt: skip
def test_headers_that_say_nothing_sensible_are_refused(server_http: httpx.Client, name: str, value: str) -> None:
    answer = server_http.post("/api/models/affine/predict", json=ROWS, headers={name: value})
    assert answer.status_code == 400
    assert value in answer.json()["error"]["message"]
    assert server_http.get("/v2", headers={name: value}).status_code == 400


def test_a_priority_that_is_none_is_refused_over_grpc(channel: grpc.Channel) -> None:
    models = channel.unary_unary("/bookserve.v1.Bookserve/Models")
    with pytest.raises(grpc.RpcError) as caught:
        models(b"", metadata=(("x-priority", "urgent"),))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert models(b"", metadata=(("x-priority", "high"),))


def test_answers_are_counted_by_protocol(beside: httpx.Client, channel: grpc.Channel) -> None:
    def counts() -> list[float]:
        name = "bookserve_responses_total"
        return [
            counted(beside, name, protocol="tfs/http", code="404"),
            counted(beside, name, protocol="v2/http", code="200"),
            counted(beside, name, protocol="api/grpc", code="OK"),
            counted(beside, name, protocol="api/grpc", code="NOT_FOUND"),
            counted(beside, protocol="api/http", model="affine", code="ok"),
            counted(beside, "bookserve_queue_seconds_count", model="affine"),
        ]

    before = counts()
    beside.post("/v1/models/none:predict", json={"instances": [1]})
    beside.get("/v2")
    channel.unary_unary("/bookserve.v1.Bookserve/Models")(b"")
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/bookserve.v1.Bookserve/Sample")(b"\x0a\x04none")
    beside.post("/api/models/affine/predict", json=ROWS)
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1] * 6


@pytest.mark.slow
def test_logs_are_objects_with_the_requests_id(models: Path) -> None:
    with started(models, "--json", "--log-format", "json", "--access-log") as process:
        told = read(process)
        target = told["grpc"].removeprefix("grpc://")
        url = f"{told['http']}/api/models/affine/predict"
        httpx.post(url, json=ROWS, headers={"x-request-id": "one"}, trust_env=False)
        httpx.get(f"{told['http']}/nothing%0Ahere?secret", headers={"x-request-id": "two"}, trust_env=False)
        with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
            channel.unary_unary("/bookserve.v1.Bookserve/Models")(b"", metadata=(("x-request-id", "three"),))
        process.terminate()
        _, log = process.communicate(timeout=30)
    entries = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "message"} <= entry.keys() for entry in entries)
    asked = {entry["request_id"]: entry for entry in entries if "request_id" in entry}
    assert [(asked[name]["request"], asked[name]["code"]) for name in ("one", "two", "three")] == [
        ("POST /api/models/affine/predict", "200"),
        ("GET /nothing%0Ahere", "404"),
        ("/bookserve.v1.Bookserve/Models", "OK"),
    ]
    assert "secret" not in log


@pytest.mark.slow
def test_without_being_asked_requests_are_not_logged(models: Path) -> None:
    with started(models, "--json") as process:
        told = read(process)
        httpx.get(f"{told['http']}/healthz", trust_env=False)
        process.terminate()
        wait_for(process, "stopping")
        assert "healthz" not in process.communicate(timeout=30)[1]

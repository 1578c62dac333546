"""Access beside the protocols: pages of other origins, Unix sockets, gRPC's own health and reflection services."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bookserve.api import oip_pb2 as v2
from bookserve.api import tfserving_pb2 as tfs
from tests.serve.processes import refused
from tests.servers import GRPC_SERVERS, Server, start

pytestmark = pytest.mark.slow  # starts servers

OURS = "https://example.org"
SERVICES = {
    "bookserve.v1.Bookserve",
    "bookserve.v1.Pictures",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
}


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture(scope="module", params=GRPC_SERVERS)
def opened(request: pytest.FixtureRequest, models: Path, sockets: Path) -> Iterator[Server]:
    options = ["--http-socket", str(sockets / "http"), "--grpc-socket", str(sockets / "grpc"), "--cors", OURS]
    options += ["--grpc-server", request.param]
    with start(models, *options) as server:
        yield server


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}


@pytest.mark.parametrize("path", ["/v1/models/affine:predict", "/v2/models/affine/infer", "/api/models/affine/predict"])
def test_pages_of_the_named_origin_may_ask(opened: Server, path: str) -> None:
    with httpx.Client(base_url=opened.http, trust_env=False) as http:
        allowed = http.options(path, headers={"origin": OURS, **PREFLIGHT})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, OURS)
        assert http.options(path, headers={"origin": "https://evil.example", **PREFLIGHT}).status_code == 400
        body = {"instances": [[0, 1, 2]]}
        answered = http.post("/v1/models/affine:predict", json=body, headers={"origin": OURS})
        assert answered.headers["access-control-allow-origin"] == OURS
        assert "inference-header-content-length" in answered.headers["access-control-expose-headers"]
        stranger = http.post("/v1/models/affine:predict", json=body, headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers


def test_no_other_page_may_ask_unless_the_operator_says_so(server_http: httpx.Client) -> None:
    for path in ("/v1/models/affine", "/v2/models/affine", "/api/models"):
        reply = server_http.options(path, headers={"origin": OURS, **PREFLIGHT})
        assert reply.status_code in (400, 405)
        assert "access-control-allow-origin" not in reply.headers
        assert "access-control-allow-origin" not in server_http.get(path, headers={"origin": OURS}).headers


def test_an_origin_is_no_address_of_a_page(models: Path) -> None:
    code, said = refused(str(models), "--cors", "example.org/page")
    assert code == 5
    assert "--cors https://example.org" in said


def test_http_over_a_unix_socket(opened: Server, sockets: Path) -> None:
    transport = httpx.HTTPTransport(uds=str(sockets / "http"))
    with httpx.Client(transport=transport, base_url="http://here") as http:
        for headers in ({}, {"x-unusual": "1"}):
            reply = http.post("/v1/models/affine:predict", json={"instances": [[0, 1, 2]]}, headers=headers)
            assert reply.json() == {"predictions": [[1, 3, 5]]}
        assert http.get("/v2/health/ready").json() == {"ready": True}


def test_grpc_over_a_unix_socket(opened: Server, sockets: Path) -> None:
    with grpc.insecure_channel(f"unix:{sockets / 'grpc'}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        assert v2.ServerReadyResponse.FromString(call(b"", timeout=30)).ready


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_socket_that_cannot_be_had_is_told(models: Path, protocol: str) -> None:
    code, said = refused(str(models), "--http-port", "0", "--grpc-port", "0", f"--{protocol}-socket", "/nowhere/at/all")
    assert code == 1
    assert "/nowhere/at/all" in said


def test_a_socket_is_removed_in_the_end(models: Path, tmp_path: Path) -> None:
    for _ in "ab":  # and the path can be used again
        with start(models, "--http-socket", str(tmp_path / "http")) as server:
            assert (tmp_path / "http").is_socket()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
        assert not (tmp_path / "http").exists()


@pytest.mark.parametrize("service", ["", *sorted(one for one in SERVICES if not one.startswith("grpc."))])
def test_health_of_each_service(channel: grpc.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service=service)
    assert stub.Check(asked, timeout=30).status == health_pb2.HealthCheckResponse.SERVING
    watched = stub.Watch(asked, timeout=30)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()


def test_health_of_no_service(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service="nothing")
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(asked, timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watched = stub.Watch(asked, timeout=30)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watched.cancel()


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_idle_streams_do_not_keep_the_server_from_stopping(models: Path, whose: str) -> None:
    """The watcher hears of the end; a stream without requests is ended."""
    quiet = threading.Event()

    def requests() -> Iterator[bytes]:
        quiet.wait(60)
        yield from ()

    with start(models, "--grpc-server", whose) as server, grpc.insecure_channel(server.grpc_target) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(requests(), timeout=60)
        server.process.send_signal(signal.SIGTERM)
        assert [reply.status for reply in watched] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        # The client has not said that it will send no more; gRPC tells it of the end in one of two ways.
        try:
            assert list(stream) == []
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.CANCELLED
        assert server.process.wait(25) == 0  # less than the server's patience with calls that go on
        quiet.set()


def test_services_are_found_by_reflection(channel: grpc.Channel) -> None:
    """With the official names, and with messages that are compatible with the official ones on the wire."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == SERVICES
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool(database)
    prediction = pool.FindServiceByName("tensorflow.serving.PredictionService")
    assert {method.name for method in prediction.methods} == {
        "Predict",
        "Classify",
        "Regress",
        "MultiInference",
        "GetModelMetadata",
    }
    predict = prediction.FindMethodByName("Predict")
    assert predict.input_type.full_name == tfs.PredictRequest.DESCRIPTOR.full_name
    inference = pool.FindServiceByName("inference.GRPCInferenceService")
    stream = inference.FindMethodByName("ModelStreamInfer")
    assert (stream.client_streaming, stream.server_streaming) == (True, True)
    assert not inference.FindMethodByName("ModelInfer").server_streaming
    assert set(pool.FindServiceByName("bookserve.v1.Bookserve").methods_by_name) >= {"Predict", "Generate"}


def test_reflection_of_what_is_not_there(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("nothing.at.All")


def test_a_socket_left_by_a_process_that_was_killed_is_taken_over(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "http"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with start(models, "--http-socket", str(path)):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://here") as http:
            assert http.get("/healthz").status_code == 200
        code, said = refused(str(models), "--http-port", "0", "--grpc-port", "0", "--http-socket", str(path))
        assert code == 1  # somebody listens there
        assert "in use" in said

"""Triton's extensions over HTTP and gRPC: statistics, classification, the model repository, streams, compression."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from bookserve.api import oip_pb2 as pb
from tests import bundles
from tests.servers import GRPC_SERVERS, Server, start

SERVICE = "/inference.GRPCInferenceService/"
X: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 1, 2]}


def stats(http: httpx.Client, path: str) -> list[dict[str, Any]]:
    return list(http.get(f"/v2/models/{path}").json()["model_stats"])


def test_statistics_count_rows_runs_and_failures(http: httpx.Client) -> None:
    (before,) = stats(http, "affine/stats")
    rows = {"name": "x", "shape": [5, 3], "datatype": "FP32", "data": [0, 1, 2] * 5}
    assert http.post("/v2/models/affine/infer", json={"inputs": [rows]}).status_code == 200
    refused = {"inputs": [rows | {"shape": [0, 3], "data": []}]}
    assert http.post("/v2/models/affine/infer", json=refused).status_code == 400
    (after,) = stats(http, "affine/versions/1/stats")
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 1
    for kind in ("success", "fail"):
        assert after["inference_stats"][kind]["count"] - before["inference_stats"][kind]["count"] == 1
        assert after["inference_stats"][kind]["ns"] > before["inference_stats"][kind]["ns"]
    assert after["last_inference"] > 1_700_000_000_000
    sizes = {item["batch_size"]: item["compute_infer"]["count"] for item in after["batch_stats"]}
    assert sizes[5] >= 1


def test_statistics_of_all_models_and_of_none(beside: httpx.Client, channel: grpc.Channel) -> None:
    everything = stats(beside, "stats")
    assert {"affine", "pair", "writer"} <= {item["name"] for item in everything}
    assert beside.get("/v2/models/nothing/stats").status_code == 404
    assert beside.get("/v2/models/affine/versions/9/stats").status_code == 404
    call = channel.unary_unary(f"{SERVICE}ModelStatistics")
    reply = pb.ModelStatisticsResponse.FromString(call(b"", timeout=30))
    assert len(reply.model_stats) == len(everything)
    one = pb.ModelStatisticsRequest(name="affine", version="1").SerializeToString()
    (counted,) = pb.ModelStatisticsResponse.FromString(call(one, timeout=30)).model_stats
    (same,) = stats(beside, "affine/stats")
    assert counted.execution_count == same["execution_count"]
    assert counted.inference_stats.success.count == same["inference_stats"]["success"]["count"]


def classified(http: httpx.Client, model: str, tensor: Any, output: str, count: Any) -> httpx.Response:
    wish = {"name": output, "parameters": {"classification": count}}
    return http.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], "outputs": [wish]})


def test_the_likeliest_classes_as_strings(http: httpx.Client) -> None:
    image = {"name": "image", "shape": [1, 4, 4, 1], "datatype": "FP32", "data": [0] * 16}
    (output,) = classified(http, "digits", image, "probabilities", 1).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 1])
    assert output["data"][0].endswith(":0:dark")
    tokens = {"name": "tokens", "shape": [1, 6], "datatype": "INT32", "data": [4, 4, 4, 4, 1, 1]}
    (output,) = classified(http, "reviews", tokens, "score", 5).json()["outputs"]
    assert output["data"] == ["0.666667:1:positive", "0.333333:0:negative"]
    (output,) = classified(http, "affine", X, "y", 2).json()["outputs"]
    assert output["data"] == ["5.000000:2", "3.000000:1"]
    for count in (0, -1, True, "2", 1.5):
        assert classified(http, "affine", X, "y", count).status_code == 400
    latent = {"name": "latent", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}
    assert "has no classes" in classified(http, "plane", latent, "image", 1).json()["error"]


@pytest.mark.parametrize(("coding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_answers_are_compressed_for_who_asks(server: Server, coding: str, unpack: Any) -> None:
    body = json.dumps({"inputs": [X], "parameters": {"binary_data_output": True}}).encode()
    with httpx.Client(base_url=server.http, trust_env=False, headers={"accept-encoding": coding}) as http:
        with http.stream("POST", "/v2/models/affine/infer", content=body) as reply:
            packed = b"".join(reply.iter_raw())
        assert reply.headers["content-encoding"] == coding
        end = int(reply.headers["inference-header-content-length"])
        assert json.loads(unpack(packed)[:end])["outputs"][0]["name"] == "y"
        rows = http.post("/v1/models/affine:predict", json={"instances": [[0, 1, 2]] * 30_000})
        assert rows.headers["content-encoding"] == coding
        assert rows.json() == {"predictions": [[1, 3, 5]] * 30_000}
    with httpx.Client(base_url=server.http, trust_env=False) as http:  # a list is what libraries send unasked
        assert "content-encoding" not in http.post("/v2/models/affine/infer", json={"inputs": [X]}).headers


def streamed(channel: grpc.Channel, requests: list[pb.ModelInferRequest]) -> list[pb.ModelStreamInferResponse]:
    call = channel.stream_stream(f"{SERVICE}ModelStreamInfer")
    data = iter([request.SerializeToString() for request in requests])
    return [pb.ModelStreamInferResponse.FromString(reply) for reply in call(data, timeout=30)]


def infer_request(name: str, *values: float, identity: str = "") -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, len(values)])
    tensor.contents.fp32_contents.extend(values)
    return pb.ModelInferRequest(model_name=name, id=identity, inputs=[tensor])


def test_a_stream_answers_in_order_and_outlives_a_bad_request(channel: grpc.Channel) -> None:
    requests = [infer_request("affine", index, 0, 0, identity=str(index)) for index in range(50)]
    requests[7] = infer_request("affine", 1, identity="7")
    requests[9] = infer_request("nothing", 1, 2, 3, identity="9")
    replies = streamed(channel, requests)
    assert [reply.infer_response.id for reply in replies] == [str(index) for index in range(50)]
    assert [index for index, reply in enumerate(replies) if reply.error_message] == [7, 9]
    assert replies[9].error_message.startswith("Request for unknown model: 'nothing'")
    assert list(replies[49].infer_response.outputs[0].contents.fp32_contents) == [99, 1, 1]


def test_a_stream_that_sends_no_message(channel: grpc.Channel) -> None:
    call = channel.stream_stream(f"{SERVICE}ModelStreamInfer")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([b"\xff"]), timeout=30))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("path", "method"),
    [("models/affine/load", "ModelLoad"), ("models/affine/unload", "ModelUnload")],
)
def test_the_repository_is_closed_unless_the_operator_opens_it(
    http: httpx.Client, channel: grpc.Channel, path: str, method: str
) -> None:
    reply = http.post(f"/v2/repository/{path}")
    assert reply.status_code == 403
    assert "--model-control" in reply.json()["error"]
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"{SERVICE}Repository{method}")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "model_repository" not in http.get("/v2").json()["extensions"]
    assert {"name": "affine", "version": "1", "state": "READY", "reason": ""} in http.post(
        "/v2/repository/index"
    ).json()


@pytest.fixture(scope="module", params=GRPC_SERVERS)
def whose(request: pytest.FixtureRequest) -> str:
    """Whose HTTP/2 speaks gRPC."""
    return str(request.param)


@pytest.fixture(scope="module")
def open_models(whose: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("open")
    bundles.write_digits(models)
    bundles.write_digits(models)
    bundles.write_affine(models)
    return models


@pytest.fixture(scope="module")
def open_server(whose: str, open_models: Path) -> Iterator[Server]:
    with start(open_models, "--model-control", "--grpc-server", whose) as running:
        yield running


@pytest.fixture
def keeper(open_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_server.http, trust_env=False, timeout=60) as client:
        yield client


def states(keeper: httpx.Client, **wish: bool) -> dict[tuple[str, str], str]:
    return {
        (item["name"], item["version"]): item["state"] for item in keeper.post("/v2/repository/index", json=wish).json()
    }


@pytest.mark.slow
def test_models_are_listed_loaded_and_unloaded(keeper: httpx.Client, open_models: Path) -> None:
    assert "model_repository" in keeper.get("/v2").json()["extensions"]
    known = {("affine", "1"): "READY", ("digits", "1"): "UNAVAILABLE", ("digits", "2"): "READY"}
    assert states(keeper) == known
    assert states(keeper, ready=True).keys() == {("affine", "1"), ("digits", "2")}
    assert keeper.post("/v2/repository/index").status_code == 200  # a body is not needed

    assert keeper.post("/v2/repository/models/affine/unload").json() == {"name": "affine", "unload": True}
    assert keeper.get("/v2/models/affine/ready").status_code == 404
    assert keeper.post("/v1/models/affine:predict", json={"instances": [[0, 1, 2]]}).status_code == 404
    assert states(keeper) == known | {("affine", "1"): "UNAVAILABLE"}
    assert keeper.post("/v2/repository/models/affine/load").json() == {"name": "affine", "load": True}
    assert keeper.post("/v2/models/affine/infer", json={"inputs": [X]}).json()["outputs"][0]["data"] == [1, 3, 5]

    bundles.write_affine(open_models)
    assert keeper.post("/v2/repository/models/affine/load", json={}).status_code == 200
    assert keeper.get("/v2/models/affine").json()["versions"][-1] == "2"


@pytest.mark.slow
def test_a_broken_version_leaves_the_old_one_serving(keeper: httpx.Client, open_models: Path) -> None:
    shutil.copytree(open_models / "digits" / "2", open_models / "digits" / "3")
    (open_models / "digits" / "3" / "model.onnx").write_bytes(b"")
    reply = keeper.post("/v2/repository/models/digits/load")
    assert (reply.status_code, "is not the file that was exported" in reply.json()["error"]) == (503, True)
    image = {"name": "image", "shape": [1, 4, 4, 1], "datatype": "FP32", "data": [0] * 16}
    assert keeper.post("/v2/models/digits/infer", json={"inputs": [image]}).json()["model_version"] == "2"
    assert states(keeper)["digits", "3"] == "UNAVAILABLE"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("models/nothing/load", b"", 404),
        ("models/nothing/unload", b"", 404),
        ("models/%2e%2e/load", b"", 404),
        ("models/..%5c..%5cetc/load", b"{}", 404),
        ("models/affine%00/load", b"{}", 404),
        ("models/affine/load", b"[]", 400),
        ("models/affine/load", b"{", 400),
        ("models/affine/load", b'{"parameters": 1}', 400),
        ("models/affine/load", b'{"parameters": {"config": "{}"}}', 400),
        ("models/affine/load", b'{"parameters": {"file:1/model.onnx": "AAAA"}}', 400),
        ("models/affine/unload", b'{"parameters": []}', 400),
        ("index", b'{"ready": 1}', 400),
        ("index", b"[]", 400),
        ("index", b"[" * 10_000, 400),
    ],
)
def test_requests_to_the_repository_that_do_not_fit(keeper: httpx.Client, path: str, body: bytes, status: int) -> None:
    reply = keeper.post(f"/v2/repository/{path}", content=body)
    assert reply.status_code == status
    assert len(reply.json()["error"]) > 10


@pytest.mark.slow
def test_the_repository_over_grpc(open_server: Server) -> None:
    with grpc.insecure_channel(open_server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        index = channel.unary_unary(f"{SERVICE}RepositoryIndex")
        reply = pb.RepositoryIndexResponse.FromString(
            index(pb.RepositoryIndexRequest(ready=True).SerializeToString(), timeout=30)
        )
        assert {item.state for item in reply.models} == {"READY"}
        load = channel.unary_unary(f"{SERVICE}RepositoryModelLoad")
        load(pb.RepositoryModelLoadRequest(model_name="affine").SerializeToString(), timeout=30)
        given = pb.RepositoryModelLoadRequest(
            model_name="affine", parameters={"config": pb.ModelRepositoryParameter(string_param="{}")}
        )
        with pytest.raises(grpc.RpcError) as caught:
            load(given.SerializeToString(), timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

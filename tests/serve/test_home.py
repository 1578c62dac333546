"""The home door: people's requests over HTTP and gRPC, and what is said when they do not fit."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from bookserve.pictures import decode_png, encode_png
from bookserve.wire import HINT
from bookserve.wire import home_pb2 as pb
from tests.servers import Server

WHITE = base64.b64encode(encode_png(np.full((7, 7), 255, np.uint8))).decode()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_target) as opened:
        yield opened


def post(http: httpx.Client, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"/api/models/{path}", content=content, headers=headers)


def test_models_are_listed_and_described(http: httpx.Client) -> None:
    listed = {model["name"]: model for model in http.get("/api/models").json()["models"]}
    assert listed.keys() == {"affine", "digits", "pair", "plane", "reviews", "writer"}
    assert listed["digits"]["version"] == 2
    assert listed["writer"]["verb"] == "generate"
    one = http.get("/api/models/writer").json()
    assert one["graphs"]["step"]["inputs"]["count"] == {"dtype": "float32", "shape": ["batch", 1]}
    assert http.get("/api/models/nothing").status_code == 404


def test_predict_pictures_texts_numbers_and_named_inputs(http: httpx.Client) -> None:
    rows = [{"b64": WHITE}, [[0] * 4] * 4]
    reply = post(http, "digits/predict", {"rows": rows}).json()
    assert reply["version"] == 2
    assert [answer["probabilities"][0]["label"] for answer in reply["answers"]] == ["bright", "dark"]
    assert post(http, "digits/predict", {"rows": rows, "version": 1}).json()["version"] == 1
    assert post(http, "affine/predict", {"rows": [[0, 1, 2]]}).json()["answers"] == [{"y": [1.0, 3.0, 5.0]}]
    pair = post(http, "pair/predict", {"rows": [{"a": [1, 2], "b": 41}]}).json()["answers"]
    assert pair == [{"sum": 3.0, "next": 42}]


def test_generate_whole_and_streamed_are_the_same_text(http: httpx.Client) -> None:
    ask = {"prompt": "ab", "length": 25, "temperature": 1.0, "seed": 9}
    whole = post(http, "writer/generate", ask).json()["text"]
    assert len(whole) == 25
    streamed = post(http, "writer/generate", ask | {"stream": True})
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(line[5:]) for line in streamed.text.splitlines() if line.startswith("data:")]
    assert events.pop() == {"done": True}
    assert "".join(event["text"] for event in events) == whole


def test_sample_gives_points_and_pictures_or_one_sheet(http: httpx.Client) -> None:
    reply = post(http, "plane/sample", {"n": 3, "seed": 1}).json()
    assert np.array(reply["latent"]).shape == (3, 2)
    assert decode_png(base64.b64decode(reply["images"][0]["b64"])).shape == (4, 4, 1)
    sheet = post(http, "plane/sample", {"grid": 5}, accept="image/png")
    assert sheet.headers["content-type"] == "image/png"
    assert decode_png(sheet.content).shape == (20, 20, 1)


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("nothing/predict", {"rows": [1]}, 404, "nothing"),
        ("digits/predict", {"rows": [1], "version": 7}, 404, "version 7"),
        ("digits/predict", b"{", 400, "JSON"),
        ("digits/predict", b"", 400, "JSON"),
        ("digits/predict", b"[1]", 400, "object"),
        ("digits/predict", b"\xff\xfe", 400, ""),
        ("digits/predict", b"[" * 100_000, 400, ""),
        ("digits/predict", {"rows": []}, 400, "rows"),
        ("digits/predict", {"row": [1]}, 400, "row"),
        ("digits/predict", {"rows": [{"b64": "!!"}]}, 400, "base64"),
        ("digits/predict", {"rows": [{"b64": "AAAA"}]}, 400, "picture"),
        ("digits/predict", {"rows": [[1, 2]]}, 400, "shape"),
        ("digits/predict", {"rows": [None]}, 400, "picture"),
        ("affine/predict", {"rows": [["a", "b", "c"]]}, 400, "float32"),
        ("pair/predict", {"rows": [{"a": [1]}]}, 400, "'b'"),
        ("writer/predict", {"rows": ["a"]}, 400, "generate"),
        ("digits/generate", {}, 400, "predict"),
        ("writer/generate", {"temperature": -1}, 400, "temperature"),
        ("writer/generate", {"length": 0}, 400, "length"),
        ("writer/generate", {"length": 10**9}, 400, "length"),
        ("writer/generate", {"prompt": "xyz", "stream": True}, 400, "'x'"),
        ("writer/generate", {"seed": -1}, 400, "seed"),
        ("plane/sample", {"n": 2, "grid": 2}, 400, "only one"),
        ("plane/sample", {"latent": [[1]]}, 400, "2 finite numbers"),
        ("plane/sample", {"n": 10**7}, 400, "`$.n`"),
        ("plane/fly", {}, 404, "nothing"),
    ],
)
def test_what_does_not_fit_is_answered_in_a_sentence(
    http: httpx.Client, path: str, body: Any, status: int, says: str
) -> None:
    response = post(http, path, body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == {400: "invalid_input", 404: "not_found"}[status]
    assert says in error["message"] + error["hint"]
    assert http.get("/readyz").status_code == 200


def test_a_body_beyond_the_limit_is_refused_whether_declared_sent_or_inflated(http: httpx.Client) -> None:
    large = 65 * 2**20
    assert status_of_unfinished(http, f"content-length: {large}", b"{") == 413
    chunk = b"%x\r\n%b\r\n" % (2**20, b" " * 2**20)
    assert status_of_unfinished(http, "transfer-encoding: chunked", *[chunk] * 65) == 413
    bomb = gzip.compress(b" " * large)
    assert post(http, "affine/predict", bomb, **{"content-encoding": "gzip"}).status_code == 413
    packed = gzip.compress(json.dumps({"rows": [[1, 2, 3]]}).encode())
    assert post(http, "affine/predict", packed, **{"content-encoding": "gzip"}).status_code == 200
    assert post(http, "affine/predict", packed[:-9], **{"content-encoding": "gzip"}).status_code == 400
    assert post(http, "affine/predict", packed, **{"content-encoding": "br"}).status_code == 400


def status_of_unfinished(http: httpx.Client, header: str, *pieces: bytes) -> int:
    """Status of a request whose body is not whole yet: the server need not wait for the rest to refuse it."""
    with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=30) as connection:
        connection.sendall(f"POST /api/models/affine/predict HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):  # it may hang up on what it has refused already
            for piece in pieces:
                connection.sendall(piece)
        return int(connection.recv(100).split()[1])


def test_metrics_count_what_was_asked(http: httpx.Client) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    def count() -> float:
        families = text_string_to_metric_families(http.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        labels = {"model": "affine", "version": "1", "graph": "serving_default", "code": "ok"}
        return sum(s.value for s in samples if s.name == "bookserve_requests_total" and s.labels == labels)

    before = count()
    post(http, "affine/predict", {"rows": [[0, 1, 2]] * 5})
    assert count() == before + 1


def test_the_page_lists_what_to_do(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "/api/models" in page.text


def call(channel: grpc.Channel, method: str, request: Any, reply: Any) -> Any:
    return channel.unary_unary(f"/bookserve.v1.Bookserve/{method}", type(request).SerializeToString, reply.FromString)(
        request
    )


def test_the_same_over_grpc(channel: grpc.Channel) -> None:
    models = call(channel, "Models", pb.ModelsRequest(), pb.ModelsReply).models
    assert {model.name for model in models} >= {"digits", "writer"}
    rows = [pb.Row(data=base64.b64decode(WHITE))]
    reply = call(channel, "Predict", pb.PredictRequest(model="digits", rows=rows), pb.PredictReply)
    assert reply.answers[0].outputs[0].labels.labels[0].label == "bright"
    samples = call(channel, "Sample", pb.SampleRequest(model="plane", grid=3), pb.SampleReply)
    assert len(samples.images) == 9
    stream = channel.unary_stream(
        "/bookserve.v1.Bookserve/Generate", pb.GenerateRequest.SerializeToString, pb.GenerateReply.FromString
    )
    request = pb.GenerateRequest(model="writer", prompt="abc", length=6, temperature=0)
    assert "".join(piece.text for piece in stream(request)) == "deabcd"


@pytest.mark.parametrize(
    ("method", "request_", "reply", "code"),
    [
        ("Predict", pb.PredictRequest(model="nothing", rows=[pb.Row(text="x")]), pb.PredictReply, "NOT_FOUND"),
        ("Predict", pb.PredictRequest(model="digits"), pb.PredictReply, "INVALID_ARGUMENT"),
        ("Predict", pb.PredictRequest(model="digits", rows=[pb.Row()]), pb.PredictReply, "INVALID_ARGUMENT"),
        ("Sample", pb.SampleRequest(model="plane", n=0), pb.SampleReply, "INVALID_ARGUMENT"),
        ("Sample", pb.SampleRequest(model="writer"), pb.SampleReply, "INVALID_ARGUMENT"),
        ("Nonsense", pb.ModelsRequest(), pb.ModelsReply, "UNIMPLEMENTED"),
    ],
)
def test_errors_over_grpc(channel: grpc.Channel, method: str, request_: Any, reply: Any, code: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, request_, reply)
    assert caught.value.code().name == code
    if code != "UNIMPLEMENTED":
        assert any(key == HINT for key, _ in caught.value.trailing_metadata())


def test_a_client_that_leaves_stops_the_text(http: httpx.Client) -> None:
    """The stream of 100,000 characters is given up; its request is counted as cancelled."""

    def cancelled() -> bool:
        return 'code="cancelled",graph="step"' in http.get("/metrics").text

    assert not cancelled()
    ask = json.dumps({"length": 100_000, "stream": True}).encode()
    with http.stream("POST", "/api/models/writer/generate", content=ask) as response:
        next(response.iter_raw())
    for _ in range(1000):  # each asks the server, which ends the stream at its next step
        if cancelled():
            return
    pytest.fail("the text is still being written")


def test_the_models_directory_is_not_reachable(http: httpx.Client, models: Path) -> None:
    for path in ("../digits", "..%2fdigits", "%2e%2e/digits", "digits/../../x", "digits%00"):
        assert http.get(f"/api/models/{path}").status_code == 404

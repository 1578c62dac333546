"""Our own API over gRPC, called with plain grpc and the messages of ``home.proto``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image

from bookserve.api import HINT
from bookserve.api import native_pb2 as pb
from bookserve.api.native_messages import answer_from_message, row_to_message
from tests.serve.metrics import requests
from tests.serve.protocols.native.texts import offline

Call = Callable[..., Any]


@pytest.fixture
def call(channel: grpc.Channel) -> Call:
    def unary(name: str, message: Any) -> Any:
        parse = getattr(pb, f"{name}Reply").FromString
        return channel.unary_unary(f"/bookserve.v1.Bookserve/{name}", type(message).SerializeToString, parse)(message)

    return unary


@pytest.fixture
def write(channel: grpc.Channel) -> Call:
    def stream(message: pb.GenerateRequest) -> Any:
        method = channel.unary_stream(
            "/bookserve.v1.Bookserve/Generate", pb.GenerateRequest.SerializeToString, pb.GenerateReply.FromString
        )
        return method(message)

    return stream


def test_models_are_listed_as_over_http(call: Call, beside: httpx.Client) -> None:
    listed = [(model.name, model.version, model.verb) for model in call("Models", pb.ModelsRequest()).models]
    models = beside.get("/api/models").json()["models"]
    assert listed == [(model["name"], model["version"], model["verb"]) for model in models]


def test_rows_of_every_kind_are_predicted(call: Call) -> None:
    buffer = io.BytesIO()
    Image.new("L", (9, 9), 250).save(buffer, "PNG")
    rows = [row_to_message(buffer.getvalue()), row_to_message(np.zeros((4, 4), np.uint8))]
    reply = call("Predict", pb.PredictRequest(model="digits", rows=rows))
    assert (reply.model, reply.version) == ("digits", 2)
    answers = [answer_from_message(answer)["probabilities"] for answer in reply.answers]
    assert [answer[0].label for answer in answers] == ["bright", "dark"]
    reply = call("Predict", pb.PredictRequest(model="pair", rows=[row_to_message({"a": [1.0, 2.0], "b": 5})]))
    answer = answer_from_message(reply.answers[0])
    assert {name: (array.dtype.name, array.item()) for name, array in answer.items()} == {
        "sum": ("float32", 3.0),
        "next": ("int64", 6),
    }
    assert call("Predict", pb.PredictRequest(model="digits", version=1, rows=rows)).version == 1


def test_the_served_text_is_the_offline_text(write: Call, models: Path) -> None:
    pieces = [
        reply.text
        for reply in write(pb.GenerateRequest(model="writer", prompt="abc", length=3000, temperature=1.0, seed=5))
    ]
    assert "".join(pieces) == offline(models, prompt="abc", length=3000, temperature=1.0, seed=5)
    assert len(pieces) < 1000
    assert sum(len(reply.text) for reply in write(pb.GenerateRequest(model="writer"))) == 400


def test_points_become_the_pictures_that_http_gives(call: Call, beside: httpx.Client) -> None:
    reply = call("Sample", pb.SampleRequest(model="plane", n=3, seed=1))
    told = beside.post("/api/models/plane/sample", json={"n": 3, "seed": 1}).json()["latent"]
    assert np.array([point.coordinates for point in reply.latent], np.float32).tolist() == np.float32(told).tolist()
    assert [Image.open(io.BytesIO(image)).size for image in reply.images] == [(4, 4)] * 3
    points = [pb.Point(coordinates=[0, 0])]
    image = call("Sample", pb.SampleRequest(model="plane", latent=points)).images[0]
    assert (np.asarray(Image.open(io.BytesIO(image))) == 128).all()


X = row_to_message([1.0, 2.0, 3.0])
Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("name", "message", "code", "said", "hint"),
    [
        ("Predict", pb.PredictRequest(model="nothing", rows=[X]), Code.NOT_FOUND, "nothing", "digits"),
        ("Predict", pb.PredictRequest(model="affine", version=9, rows=[X]), Code.NOT_FOUND, "9", "1"),
        ("Predict", pb.PredictRequest(model="affine", rows=[pb.Row()]), Code.INVALID_ARGUMENT, "empty", "tensor"),
        ("Predict", pb.PredictRequest(model="affine", rows=[row_to_message("é")]), Code.INVALID_ARGUMENT, "text", ""),
        (
            "Predict",
            pb.PredictRequest(model="digits", rows=[row_to_message(b"x")]),
            Code.INVALID_ARGUMENT,
            "picture",
            "PNG",
        ),
        ("Predict", pb.PredictRequest(model="writer", rows=[X]), Code.INVALID_ARGUMENT, "predict", "generate"),
        ("Sample", pb.SampleRequest(model="plane", n=9999), Code.INVALID_ARGUMENT, "4096", ""),
        ("Sample", pb.SampleRequest(model="plane", n=1, grid=1), Code.INVALID_ARGUMENT, "one of", ""),
        ("Sample", pb.SampleRequest(model="plane", seed=2**64 - 1), Code.INVALID_ARGUMENT, "seed", ""),
        ("Generate", pb.GenerateRequest(model="writer", prompt="xyz"), Code.INVALID_ARGUMENT, "'x'", "abcde"),
        (
            "Generate",
            pb.GenerateRequest(model="writer", temperature=float("nan")),
            Code.INVALID_ARGUMENT,
            "temperature",
            "",
        ),
        ("Generate", pb.GenerateRequest(model="digits"), Code.INVALID_ARGUMENT, "generate", "predict"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(
    call: Call, write: Call, name: str, message: Any, code: grpc.StatusCode, said: str, hint: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(write(message)) if name == "Generate" else call(name, message)
    error: Any = caught.value
    assert error.code() is code
    assert said in error.details()
    assert hint in dict(error.trailing_metadata())[HINT].decode()
    reply = call("Predict", pb.PredictRequest(model="affine", rows=[X]))
    assert answer_from_message(reply.answers[0])["y"].tolist() == [3, 5, 7]  # type: ignore[union-attr]


def test_messages_beyond_the_limit_are_refused(channel: grpc.Channel, call: Call) -> None:
    raw = channel.unary_unary("/bookserve.v1.Bookserve/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        raw(bytes(2**26 + 1))
    refused: Any = caught.value
    assert refused.code() is Code.RESOURCE_EXHAUSTED
    assert call("Models", pb.ModelsRequest()).models


def test_a_caller_that_cancels_stops_the_generation(write: Call, beside: httpx.Client) -> None:
    before = requests(beside, model="writer", code="cancelled")
    stream = write(pb.GenerateRequest(model="writer", length=100_000, temperature=1))
    assert next(stream).text
    stream.cancel()
    while requests(beside, model="writer", code="cancelled") == before:
        pass  # pytest's timeout ends this if the server writes on for nobody
    assert json.loads(beside.get("/api/models").content)

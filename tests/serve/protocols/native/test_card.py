"""What the page of a model is told: card, examples, tensors and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from bookserve.bundle import Bundle
from bookserve.bundle.onnx_layers import list_layers
from bookserve.errors import Failed

PRETRAINED = Path(__file__).parents[4] / "pretrained"


def layers(model: str, graph: str = "serving_default") -> list[tuple[str, str, str, tuple[Any, ...], int]]:
    bundle = Bundle.open(PRETRAINED / model / "1")
    found = list_layers(bundle.path / (bundle.manifest.graphs[graph].onnx or ""), bundle.manifest.graphs[graph])
    return [(one.kind, one.detail, one.activation, one.shape, one.parameters) for one in found]


def test_layers_of_a_convnet() -> None:
    """The shapes and the numbers of weights of listing 5.2 and 5.3 of the book."""
    assert layers("mnist_convnet") == [
        ("Convolution", "3 × 3", "Relu", ("batch", 26, 26, 32), 320),
        ("Max pooling", "2 × 2", "", ("batch", 13, 13, 32), 0),
        ("Convolution", "3 × 3", "Relu", ("batch", 11, 11, 64), 18_496),
        ("Max pooling", "2 × 2", "", ("batch", 5, 5, 64), 0),
        ("Convolution", "3 × 3", "Relu", ("batch", 3, 3, 64), 36_928),
        ("Dense", "", "Relu", ("batch", 64), 36_928),
        ("Dense", "", "Softmax", ("batch", 10), 650),
    ]


def test_layers_of_a_network_of_words() -> None:
    found = layers("imdb_lstm")
    assert [one[:4] for one in found] == [
        ("Embedding", "10,000 entries", "", ("batch", 500, 32)),
        ("LSTM", "32 units", "", ("batch", 32)),
        ("Dense", "", "Sigmoid", ("batch", 1)),
    ]
    assert found[0][4] == 320_000


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(PRETRAINED / "boston_housing" / "1")
    content = (bundle.path / "model.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[:-100])
    with pytest.raises(Failed, match="not a complete ONNX file"):
        list_layers(tmp_path / "cut.onnx", bundle.manifest.graphs["serving_default"])


def test_the_card_of_a_model(http: httpx.Client) -> None:
    card = http.get("/api/models/digits/card").json()
    assert card["model"] == "digits" and card["labels"] == {} and card["history"] == {}
    assert {file["path"] for file in card["files"]} >= {"bundle.json", "model.onnx", "examples.npz"}
    assert {file["path"] for file in card["files"] if file["open"]} <= {"bundle.json", "examples.npz", "README.md"}
    assert http.get("/api/models/nothing/card").status_code == 404


def test_examples_can_be_sent_back(http: httpx.Client) -> None:
    for model in ("affine", "digits", "pair", "reviews"):
        rows = http.get(f"/api/models/{model}/examples").json()["rows"]
        for row in rows:
            reply = http.post(f"/api/models/{model}/predict", json={"rows": [row]})
            assert reply.status_code == 200, reply.text
    assert http.get("/api/models/affine/examples").json()["rows"]


def test_tensors_are_what_other_servers_take(http: httpx.Client) -> None:
    rows = {"rows": ["a good good film", "bad"]}
    tensors = http.post("/api/models/reviews/tensors", json=rows).json()
    (tensor,) = tensors["inputs"].values()
    assert tensor["dtype"] == "int32" and tensor["shape"] == [2, 6]
    raw = http.post("/v1/models/reviews:predict", json={"instances": tensor["data"]}).json()["predictions"]
    scores = [
        {label["label"]: label["score"] for label in answer["score"]}["positive"]
        for answer in http.post("/api/models/reviews/predict", json=rows).json()["answers"]
    ]
    assert scores == pytest.approx([row[0] if isinstance(row, list) else row for row in raw], abs=1e-6)
    assert http.post("/api/models/writer/tensors", json=rows).status_code == 400


def test_only_listed_files_are_sent_and_no_weights(http: httpx.Client) -> None:
    reply = http.get("/api/models/affine/files/bundle.json")
    assert reply.json()["name"] == "affine"
    assert reply.headers["content-disposition"] == 'attachment; filename="affine-1-bundle.json"'
    refused = http.get("/api/models/affine/files/model.onnx")
    assert refused.status_code == 403 and "--model-control" in refused.json()["error"]["hint"]
    for path in ("nothing", "../1/bundle.json", "..%2f..%2fdigits%2f1%2fbundle.json", "%2fetc%2fpasswd"):
        assert http.get(f"/api/models/affine/files/{path}").status_code == 404
    assert http.get("/api/models/affine/card?version=x").status_code == 400

"""The same calls and the same answers over every wire: in this process, HTTP and gRPC."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.client import Client, connect
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound
from bookserve.images import encode_png
from bookserve.steps import Label
from bookserve.verb import plain_answers

BRIGHT = np.full((4, 4), 255, np.uint8)


def test_models(client: Client, local: Client) -> None:
    listed = client.models()
    assert [(model["name"], model["version"], model["verb"]) for model in listed] == [
        ("affine", 1, "predict"),
        ("digits", 2, "predict"),
        ("pair", 1, "predict"),
        ("plane", 1, "sample"),
        ("reviews", 1, "predict"),
        ("writer", 1, "generate"),
    ]
    assert listed == local.models()


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        ("digits", [encode_png(BRIGHT), encode_png(BRIGHT // 5), BRIGHT, BRIGHT.tolist(), BRIGHT.ravel()]),
        ("digits", np.stack([BRIGHT, BRIGHT // 7])),
        ("reviews", ["a good good film", "bad", [1, 4, 5], "a good größer ☃"]),
        ("affine", [[1, 2, 3], np.array([0.1, 0.2, 1 / 3])]),
        ("affine", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("pair", [{"a": [1, 2.5], "b": 3}, {"b": np.int64(2**40), "a": np.zeros(2, np.float32)}]),
        ("affine", np.ones((600, 3))),
    ],
)
def test_predict(client: Client, local: Client, model: str, rows: Any) -> None:
    answers = client.predict(model, rows)
    assert len(answers) == len(rows)
    assert plain_answers(answers) == plain_answers(local.predict(model, rows))
    assert [list(answer) for answer in answers] == [list(answer) for answer in local.predict(model, rows)]


def test_predict_says_what_is_right(client: Client) -> None:
    (answer,) = client.predict("digits", [encode_png(BRIGHT)], version=1)
    assert [label.label for label in answer["probabilities"] if isinstance(label, Label)] == ["bright", "dark"]
    (answer,) = client.predict("pair", [{"a": [1, 2.5], "b": 3}])
    assert plain_answers([answer]) == [{"sum": 3.5, "next": 4}]
    assert all(isinstance(value, np.ndarray) for value in answer.values())


def test_pictures_in_parts(client: Client, local: Client) -> None:
    parts = list(client.sample_parts("plane", 600, seed=3))
    assert [len(part.images) for part in parts] == [256, 256, 88]
    whole = local.sample("plane", 600, seed=3)
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
    walked = list(client.sample_parts("plane", latent=[[0, 0], [1, 1], [1, 0]], walk=200))
    assert sum(len(part.latent) for part in walked) == 401
    shown = list(client.sample_parts("plane", images=[encode_png(BRIGHT)] * 3))
    np.testing.assert_allclose(
        np.concatenate([part.latent for part in shown]), local.sample("plane", images=[BRIGHT] * 3).latent, atol=1e-6
    )


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_the_same_seed_gives_the_same_text(client: Client, local: Client, seed: int) -> None:
    text = list(client.generate("writer", "abc", length=80, temperature=1.5, seed=seed))
    assert len("".join(text)) == 80
    assert len(text) > 1  # it came in pieces
    assert "".join(text) == "".join(local.generate("writer", "abc", length=80, temperature=1.5, seed=seed))


def test_temperature_zero_and_the_prompt_of_the_model(client: Client) -> None:
    assert "".join(client.generate("writer", "ab", length=7, temperature=0)) == "cdeabcd"
    assert "".join(client.generate("writer", length=3, temperature=0)) == "dea"


def test_a_closed_text_stops_and_the_client_goes_on(client: Client) -> None:
    text = client.generate("writer", length=100_000, temperature=0)
    assert next(text)
    text.close()
    assert list(text) == []
    assert "".join(client.generate("writer", length=3, temperature=0)) == "dea"


@pytest.mark.parametrize(
    "choice", [{"n": 5, "seed": 3}, {"seed": 3}, {"grid": 3}, {"latent": [[0.5, -1.25], [0, 0]]}, {"latent": np.eye(2)}]
)
def test_the_same_seed_gives_the_same_pictures(client: Client, local: Client, choice: dict[str, Any]) -> None:
    samples, expected = client.sample("plane", **choice), local.sample("plane", **choice)
    assert samples.images.dtype == np.uint8
    assert samples.latent.dtype == np.float32
    assert samples.images.shape == (len(samples.latent), 4, 4, 1)
    assert np.array_equal(samples.images, expected.images)
    assert np.array_equal(samples.latent, expected.latent)


@pytest.mark.parametrize(
    ("kind", "complaint", "call"),
    [
        (NotFound, "nosuch", lambda client: client.predict("nosuch", [1])),
        (NotFound, "nosuch", lambda client: list(client.generate("nosuch"))),
        (NotFound, "nosuch", lambda client: client.sample("nosuch")),
        (NotFound, "version 9", lambda client: client.predict("digits", [BRIGHT], version=9)),
        (NotFound, ".", lambda client: client.predict("../../etc", [1])),
        (InvalidInput, "does not predict", lambda client: client.predict("writer", ["a"])),
        (InvalidInput, "does not generate", lambda client: list(client.generate("digits"))),
        (InvalidInput, "does not sample", lambda client: client.sample("digits")),
        (InvalidInput, r"float32\[3\]", lambda client: client.predict("affine", [[1, 2]])),
        (InvalidInput, "row 1", lambda client: client.predict("affine", [[1, 2, 3], "text"])),
        (InvalidInput, "row 0", lambda client: client.predict("pair", [{"a": [1]}])),
        (InvalidInput, "int64", lambda client: client.predict("pair", [{"a": [1], "b": 0.5}])),
        (InvalidInput, "picture", lambda client: client.predict("digits", [b"no picture"])),
        (InvalidInput, "picture", lambda client: client.predict("digits", [encode_png(BRIGHT)[:-30]])),
        (InvalidInput, "rows", lambda client: client.predict("affine", [])),
        (InvalidInput, "list of rows", lambda client: client.predict("reviews", "a good film")),
        (InvalidInput, ".", lambda client: client.predict("affine", [None])),
        (InvalidInput, ".", lambda client: client.predict("affine", [[[1], [2, 3]]])),
        (InvalidInput, ".", lambda client: list(client.generate("writer", "xyz ☃"))),
        (InvalidInput, "temperature", lambda client: client.generate("writer", temperature=-1)),
        (InvalidInput, "length", lambda client: client.generate("writer", length=0)),
        (InvalidInput, "seed", lambda client: client.sample("plane", seed=-1)),
        (InvalidInput, "only one", lambda client: client.sample("plane", n=2, grid=2)),
        (InvalidInput, "latent point", lambda client: client.sample("plane", latent=[[1, 2, 3]])),
    ],
)
def test_errors_are_the_same(client: Client, kind: type[BookserveError], complaint: str, call: Any) -> None:
    with pytest.raises(kind, match=complaint) as caught:
        call(client)
    assert type(caught.value) is kind
    assert client.models()  # whoever answers lives on


def test_a_graph_without_onnx_is_for_a_server(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "affine", tmp_path / "affine")
    manifest = tmp_path / "affine/1/bundle.json"
    text = manifest.read_text().replace('"onnx": "model.onnx"', '"onnx": null')
    manifest.write_text(text.replace('"model.onnx": {', '"saved_model.pb": {'))
    (tmp_path / "affine/1/model.onnx").rename(tmp_path / "affine/1/saved_model.pb")
    with connect(f"local:{tmp_path}") as client, pytest.raises(Failed, match="bookserve serve"):
        client.predict("affine", [[1, 2, 3]])


@pytest.mark.parametrize("damage", ["cut the model", "cut the manifest", "lose the model"])
def test_a_damaged_bundle(models: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    model, manifest = tmp_path / "affine/1/model.onnx", tmp_path / "affine/1/bundle.json"
    if damage == "lose the model":
        model.unlink()
    else:
        cut = model if damage == "cut the model" else manifest
        cut.write_bytes(cut.read_bytes()[:100])
    with connect(f"local:{tmp_path}") as client:
        with pytest.raises(Failed, match="affine"):
            client.predict("affine", [[1, 2, 3]])
        assert client.predict("reviews", ["good"])
        assert "reviews" in [model["name"] for model in client.models()]

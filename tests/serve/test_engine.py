"""Engine and repository: people's requests through real bundles, without any protocol."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.api.requests import GenerateRequest, SampleRequest
from bookserve.errors import InvalidInput, NotFound, NotReady
from bookserve.generation.text import join_pieces, text_streams
from bookserve.images import encode_png
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate
from serve.engine import Engine
from serve.models.model_config import VersionPolicy
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics


def open_engine(models: Path) -> tuple[Engine, Repository, Metrics]:
    metrics = Metrics()
    repository = Repository(models, metrics, options=LoadOptions(VersionPolicy(on_demand=True)))
    repository.load()
    return Engine(repository, metrics), repository, metrics


@pytest.fixture
def engine(models: Path) -> Engine:
    return open_engine(models)[0]


def test_rows_become_answers(engine: Engine) -> None:
    rows = [encode_png(np.full((9, 9), value, np.uint8)) for value in (10, 250)]
    answers = asyncio.run(engine.predict(engine.model("digits"), rows))
    assert [answer["probabilities"][0].label for answer in answers] == ["dark", "bright"]  # type: ignore[union-attr]


def test_pictures_large_enough_for_a_thread_are_answered_alike(engine: Engine) -> None:
    noise = np.random.default_rng(0).integers(200, 256, (400, 400), np.uint8)
    answers = asyncio.run(engine.predict(engine.model("digits"), [encode_png(noise)]))
    assert answers[0]["probabilities"][0].label == "bright"  # type: ignore[union-attr]


def test_several_inputs_and_outputs(engine: Engine) -> None:
    answers = asyncio.run(engine.predict(engine.model("pair"), [{"a": [1, 2], "b": 5}, {"a": [3, 4], "b": 6}]))
    assert [answer["sum"].tolist() for answer in answers] == [3.0, 7.0]  # type: ignore[union-attr]
    assert [answer["next"].tolist() for answer in answers] == [6, 7]  # type: ignore[union-attr]


def write(engine: Engine, request: GenerateRequest) -> str:
    async def collect() -> str:
        return (await engine.write(engine.model("writer"), request))[0].text

    return asyncio.run(collect())


def test_the_served_text_is_the_offline_text(engine: Engine, models: Path) -> None:
    request = GenerateRequest(prompt="abc", length=50, temperature=1.0, seed=5)
    opened = bundle.open_bundle(models, "writer")
    verb = opened.manifest.verb
    assert isinstance(verb, Generate)
    graph = opened.graph("step")[1]
    (stream,) = text_streams(verb, graph, request)
    offline = join_pieces(list(stream.write(OnnxSession(opened.path / str(graph.onnx)).run))).text
    assert write(engine, request) == offline
    assert len(offline) == 50


def test_streams_that_run_together_write_what_they_write_alone(engine: Engine) -> None:
    requests = [GenerateRequest(prompt="abcde"[: n % 5 + 1], length=30 + n, temperature=1.0, seed=n) for n in range(8)]

    async def collect(request: GenerateRequest) -> str:
        return (await engine.write(engine.model("writer"), request))[0].text

    async def together() -> list[str]:
        return await asyncio.gather(*map(collect, requests))

    assert asyncio.run(together()) == [write(engine, request) for request in requests]


def test_sampling_gives_points_and_pixels(engine: Engine) -> None:
    latent, pixels = asyncio.run(engine.sample(engine.model("plane"), SampleRequest(grid=5)))
    assert latent.shape == (25, 2)
    assert pixels.shape == (25, 4, 4, 1)
    assert pixels.dtype == np.uint8
    again, _ = asyncio.run(engine.sample(engine.model("plane"), SampleRequest(n=3, seed=2)))
    assert np.array_equal(again, asyncio.run(engine.sample(engine.model("plane"), SampleRequest(n=3, seed=2)))[0])


@pytest.mark.parametrize("name", ["writer", "plane"])
def test_a_verb_that_the_model_does_not_have_is_refused_with_the_right_one(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        asyncio.run(engine.predict(engine.model(name), ["x"]))
    assert {"writer": "generate", "plane": "sample"}[name] in caught.value.hint


def test_feeds_are_checked(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="float32"):
        asyncio.run(engine.run(engine.model("affine"), "", {"x": np.zeros((1, 3))}))
    with pytest.raises(NotFound):
        asyncio.run(engine.run(engine.model("affine"), "nope", {}))


def test_versions(engine: Engine) -> None:
    assert engine.model("digits").version == 2
    assert [status.version for status in engine.status("digits")] == [2]
    assert engine.model("digits", 1).version == 1  # loaded now that it was asked for
    assert [(status.version, status.state) for status in engine.status("digits")] == [
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]
    for name, version in (("nothing", None), ("digits", 3), ("../digits", None)):
        with pytest.raises(NotFound):
            engine.model(name, version)
    with pytest.raises(NotFound):
        engine.status("nothing")


def test_a_broken_newest_version_leaves_the_older_one_serving(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    (tmp_path / "digits/2/model.onnx").write_bytes(b"broken")
    (tmp_path / "affine/1/model.onnx").unlink()
    engine, repository, _ = open_engine(tmp_path)
    assert engine.model("digits").version == 1
    assert [(status.version, status.state) for status in engine.status("digits")] == [(2, "END"), (1, "AVAILABLE")]
    with pytest.raises(NotReady, match=r"model\.onnx"):
        engine.model("affine")
    with pytest.raises(NotReady):
        engine.model("digits", 2)
    assert len(repository.errors()) == 2
    assert "affine" not in [model.name for model in engine.models()]
    repository.close()
    assert engine.models() == []


def test_requests_are_counted_by_how_they_ended(models: Path) -> None:
    engine, _, metrics = open_engine(models)
    asyncio.run(engine.run(engine.model("affine"), "", {"x": np.zeros((1, 3), np.float32)}))
    with pytest.raises(InvalidInput):
        asyncio.run(engine.predict(engine.model("affine"), ["x"]))
    text = metrics.expose()[0].decode()
    counts = [line for line in text.splitlines() if 'model="affine"' in line and 'code="' in line]
    assert any('code="ok"' in line and line.endswith(" 1.0") for line in counts)
    assert any('code="invalid_input"' in line and line.endswith(" 1.0") for line in counts)

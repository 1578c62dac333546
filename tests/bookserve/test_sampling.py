"""Sampling: the same seed gives the same text and the same points, whoever asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.backend import OnnxBackend
from bookserve.errors import InvalidInput
from bookserve.latent import latent_points
from bookserve.sampling import TextStream, draw
from bookserve.verb import Generate


def test_drawing_follows_the_reweighted_distribution() -> None:
    probabilities = np.array([0.5, 0.3, 0.2], np.float32)
    for temperature in (0.5, 1.0, 2.0):
        rng = np.random.default_rng(7)
        drawn = np.bincount([draw(probabilities, temperature, rng) for _ in range(20_000)], minlength=3) / 20_000
        expected = probabilities ** (1 / temperature) / (probabilities ** (1 / temperature)).sum()
        assert np.abs(drawn - expected).max() < 0.02


def test_temperature_zero_is_argmax_and_draws_nothing() -> None:
    rng = np.random.default_rng(1)
    state = rng.bit_generator.state
    assert draw(np.array([0.2, 0.5, 0.3]), 0, rng) == 1
    assert rng.bit_generator.state == state


def test_impossible_characters_are_not_drawn() -> None:
    rng = np.random.default_rng(1)
    assert {draw(np.array([0.0, 1.0, 0.0], np.float32), 1.0, rng) for _ in range(1000)} == {1}


def write(models: Path, **asked: object) -> str:
    opened = bundle.find(models, "writer")
    verb = opened.manifest.verb
    assert isinstance(verb, Generate)
    graph = opened.graph(verb.graph)[1]
    arguments = {"prompt": "abc", "length": 30, "temperature": 1.0, "seed": 3} | asked
    stream = TextStream(verb, graph, **arguments)  # type: ignore[arg-type]
    return "".join(stream.write(OnnxBackend(opened.path / str(graph.onnx)).run))


def test_the_same_seed_writes_the_same_text(models: Path) -> None:
    assert write(models) == write(models)
    assert write(models) != write(models, seed=4)
    assert len(write(models)) == 30


def test_the_likeliest_text_continues_the_prompt(models: Path) -> None:
    assert write(models, temperature=0, prompt="ab", length=7) == "cdeabcd"
    assert write(models, temperature=0, prompt="", length=3) == "dea"  # the model's own prompt is abc


def test_only_the_window_of_a_long_prompt_is_read(models: Path) -> None:
    opened = bundle.find(models, "writer")
    verb = opened.manifest.verb
    assert isinstance(verb, Generate)
    stream = TextStream(verb, opened.graph("step")[1], prompt="abcde" * 9, length=1, temperature=0, seed=0)
    assert stream.feeds()["characters"].tolist() == [[2, 3, 4]]


def test_the_state_is_carried(models: Path) -> None:
    opened = bundle.find(models, "writer")
    verb = opened.manifest.verb
    assert isinstance(verb, Generate)
    graph = opened.graph("step")[1]
    run = OnnxBackend(opened.path / str(graph.onnx)).run
    stream = TextStream(verb, graph, prompt="abc", length=2, temperature=0, seed=0)
    stream.take(run(stream.feeds()))
    assert stream.feeds()["count"].tolist() == [[3]]  # three characters of the prompt were read
    stream.take(run(stream.feeds()))
    assert stream.feeds()["count"].tolist() == [[4]]


@pytest.mark.parametrize("asked", [{"temperature": -1}, {"temperature": float("nan")}, {"prompt": "xyz"}])
def test_what_cannot_be_written_is_refused(models: Path, asked: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        write(models, **asked)


def test_latent_points() -> None:
    assert latent_points(2, n=3, seed=1).shape == (3, 2)
    assert np.array_equal(latent_points(2, n=3, seed=1), latent_points(2, n=3, seed=1))
    assert latent_points(5).shape == (16, 5)
    grid = latent_points(2, grid=15)
    assert grid.shape == (225, 2)
    assert grid[0] == pytest.approx([-1.6449, -1.6449], abs=1e-4)  # normal quantile of 0.05
    assert grid[1, 0] > grid[0, 0]
    assert grid[1, 1] == grid[0, 1]  # row by row


@pytest.mark.parametrize(
    "asked", [{"n": 2, "grid": 3}, {"latent": [[1.0]]}, {"latent": []}, {"latent": [[float("inf"), 0.0]]}]
)
def test_points_that_do_not_fit_are_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        latent_points(2, **asked)  # type: ignore[arg-type]


def test_a_grid_needs_a_plane() -> None:
    with pytest.raises(InvalidInput, match="2 dimensions"):
        latent_points(3, grid=4)

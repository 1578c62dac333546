"""Pictures changed, explained and drawn from latent spaces: the same over every wire, and from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bookserve.client import Client, connect
from bookserve.errors import InvalidInput, NotFound
from bookserve.generation.transform import Progress
from bookserve.images import decode_image, encode_png
from clients.images import activations, dream, explain, style
from clients.sample import sample
from tests import bundles, picture_bundles
from tests.servers import Server, start

PHOTO = np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype(np.uint8)
LEFT = np.zeros((8, 8), np.uint8)
LEFT[2:4, 1:3] = 255


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = picture_bundles.write_all(tmp_path_factory.mktemp("pictures"))
    bundles.write_plane(models)
    bundles.write_digits(models)
    return models


@pytest.fixture(scope="module")
def serving(shown: Path) -> Iterator[Server]:
    with start(shown) as running:
        yield running


@pytest.fixture(params=["local", "http", "grpc"])
def place(request: pytest.FixtureRequest, shown: Path) -> str:
    if request.param == "local":
        return f"local:{shown}"
    return str(getattr(request.getfixturevalue("serving"), request.param))


@pytest.fixture
def near(place: str) -> Iterator[Client]:
    with connect(place) as client:
        yield client


@pytest.fixture
def here(shown: Path) -> Iterator[Client]:
    with connect(f"local:{shown}") as client:
        yield client


def test_dreams_are_the_same(near: Client, here: Client) -> None:
    told: list[Progress] = []
    picture = near.transform("dreamer", [encode_png(PHOTO)], {"iterations": 4}, told.append)
    assert np.array_equal(picture, here.transform("dreamer", [encode_png(PHOTO)], {"iterations": 4}))
    assert told[-1].step == told[-1].steps == 4
    assert any(progress.picture is not None for progress in told)


def test_paintings_are_the_same(near: Client, here: Client) -> None:
    images = [encode_png(PHOTO), encode_png(PHOTO[::-1])]
    assert np.array_equal(near.transform("painter", images), here.transform("painter", images))


def test_who_stops_listening_stops_the_work(near: Client) -> None:
    def stop(progress: Progress) -> None:
        if progress.step > 2:
            raise KeyboardInterrupt

    endless = {"iterations": 1000, "max_loss": 1e9, "octaves": 0}
    with pytest.raises(KeyboardInterrupt):
        near.transform("dreamer", [encode_png(PHOTO)], endless, stop)
    # The one that was stopped no longer holds the device.
    assert near.transform("dreamer", [encode_png(PHOTO)], {"iterations": 1}).shape == PHOTO.shape


def test_errors_of_jobs_come_back(near: Client) -> None:
    with pytest.raises(NotFound, match="nobody"):
        near.transform("nobody", [encode_png(PHOTO)])
    with pytest.raises(InvalidInput, match="not a parameter"):
        near.transform("dreamer", [encode_png(PHOTO)], {"speed": 1})
    with pytest.raises(InvalidInput, match="cannot be explained"):
        near.activations("digits", LEFT)


def test_explanations_are_the_same(near: Client, here: Client) -> None:
    found = near.explain("corners", encode_png(LEFT))
    assert found.label == "left"
    assert found.heatmap.shape == (8, 8)
    assert (found.heatmap > 0.5).tolist() == (LEFT > 127).tolist()  # it looks where the light is
    local = here.explain("corners", encode_png(LEFT))
    np.testing.assert_allclose(found.heatmap, local.heatmap, atol=1e-6)
    assert np.array_equal(found.overlay, local.overlay)
    assert near.explain("corners", LEFT, "right").label == "right"
    with pytest.raises(NotFound, match="no class 'up'"):
        near.explain("corners", LEFT, "up")
    (layer,) = near.activations("corners", LEFT)
    assert (layer.name, layer.shape) == ("look", (8, 8, 2))
    assert np.array_equal(layer.picture, here.activations("corners", LEFT)[0].picture)


WAYS: list[dict[str, Any]] = [
    {"n": 5, "seed": 3, "truncation": 0.5},
    {"n": 3, "seed": 3, "walk": 4, "interpolate": "slerp"},
    {"latent": [[0, 0], [1, -1]], "walk": 3},
    {"n": 100_000, "seed": 2**63 - 1, "start": 99_990, "count": 10},
    {"images": [encode_png(LEFT), encode_png(LEFT[::-1])], "walk": 2},
]


@pytest.mark.parametrize("asked", WAYS)
def test_samples_are_the_same(near: Client, here: Client, asked: dict[str, Any]) -> None:
    found, local = near.sample("plane", **asked), here.sample("plane", **asked)
    assert np.array_equal(found.images, local.images)
    assert np.array_equal(found.latent, local.latent)


def test_pictures_are_encoded_to_points(near: Client) -> None:
    point = near.sample("plane", images=[encode_png(LEFT)]).latent
    assert point.shape == (1, 2)
    assert np.abs(point).max() > 0
    with pytest.raises(InvalidInput, match="only one of latent and images"):
        near.sample("plane", images=[encode_png(LEFT)], latent=[[0, 0]])


def run(command: Any, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_commands_write_pictures(place: str, tmp_path: Path) -> None:
    photo, digit = tmp_path / "photo.png", tmp_path / "digit.png"
    photo.write_bytes(encode_png(PHOTO))
    digit.write_bytes(encode_png(LEFT))
    out = tmp_path / "out.png"
    words = [str(photo), "--model", "dreamer", "-p", "iterations=2", "--layer", "bright=2", "-o", str(out)]
    said = run(dream, *words, "--previews", str(tmp_path / "stages"), "--url", place)
    assert "120 × 100 pixels" in said
    assert decode_image(out.read_bytes()).shape == PHOTO.shape
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == ["stage_01.png"]
    run(style, str(photo), str(photo), "--model", "painter", "-o", str(out), "--url", place)
    assert decode_image(out.read_bytes()).shape == (90, 108, 3)
    assert "left" in run(explain, "corners", str(digit), "-o", str(out), "--url", place)
    assert "1_look.png" in run(activations, "corners", str(digit), "-o", str(tmp_path / "a"), "--url", place)


def test_samples_are_written_in_every_form(place: str, tmp_path: Path) -> None:
    def write(name: str, *words: str) -> Path:
        run(sample, "plane", *words, "-o", str(tmp_path / name), "--url", place)
        return tmp_path / name

    with Image.open(write("walk.gif", "-n", "3", "--seed", "1", "--walk", "5", "--seconds", "0.05")) as animation:
        assert animation.size == (128, 128)
        assert animation.info["duration"] == 50
    with Image.open(write("walk.apng", "-n", "3", "--seed", "1", "--walk", "5")) as animation:
        assert animation.is_animated  # type: ignore[attr-defined]
        assert animation.n_frames > 5  # type: ignore[attr-defined]
    array = np.load(write("many.npy", "-n", "1000", "--seed", "7"), allow_pickle=False)
    assert array.shape == (1000, 4, 4, 1)
    with connect(place) as client:
        assert np.array_equal(array, client.sample("plane", 1000, seed=7).images)
    digit = tmp_path / "digit.png"
    digit.write_bytes(encode_png(LEFT))
    sheet = decode_image(write("encoded.png", "--image", str(digit), "--image", str(digit), "--walk", "3").read_bytes())
    assert sheet.shape == (2 * 64, 2 * 64, 1)
    assert not list(tmp_path.glob(".*.part"))


def test_a_concept_moves_pictures(place: str, tmp_path: Path) -> None:
    for name, picture in (("with", LEFT), ("without", LEFT[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.png").write_bytes(encode_png(picture))
    words = ["--with", str(tmp_path / "with"), "--without", str(tmp_path / "without"), "--strength", "0"]
    out = tmp_path / "moved.png"
    image = ["--image", str(tmp_path / "without" / "one.png")]
    run(sample, "plane", *image, *words, "--strength", "1", "-o", str(out), "--url", place)
    with connect(place) as client:
        there = client.sample("plane", images=[encode_png(LEFT[::-1]), encode_png(LEFT)]).images
    sheet = decode_image(out.read_bytes())[::16, ::16]
    assert np.array_equal(sheet[:, :4], there[0])
    assert np.abs(sheet[:, 4:].astype(int) - there[1]).max() <= 1

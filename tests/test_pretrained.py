"""The models in ``pretrained/`` are small, whole, and answer plain inputs as a person expects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bookserve import connect
from bookserve.bundle import open_bundle
from bookserve.bundle.bundle import HISTORY
from bookserve.client import Client

PRETRAINED = Path(__file__).parent.parent / "pretrained"
MODELS = sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir())
MIB = 1 << 20
HOUSE = [0.1, 12.5, 7.0, 0, 0.5, 6.2, 60, 4.0, 4, 300, 18.0, 390, 10.0]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(f"local:{PRETRAINED}") as connected:
        yield connected


def best(answer: dict[str, Any]) -> str:
    """The label with the largest score."""
    (labels,) = answer.values()
    return str(labels[0].label)


def test_they_are_small() -> None:
    files = [path for path in PRETRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10 * MIB
    assert max(path.stat().st_size for path in files) < 2 * MIB


@pytest.mark.parametrize("name", MODELS)
def test_they_are_whole_and_trained_on_real_data(name: str) -> None:
    bundle = open_bundle(PRETRAINED, name)
    bundle.check_files()
    assert bundle.manifest.origin
    assert bundle.manifest.origin.data == "real"
    assert all(graph.onnx for graph in bundle.manifest.graphs.values())
    assert "Licence" in (bundle.path / "README.md").read_text("utf-8")
    weights_from_elsewhere = name == "imagenet_classifier"
    assert (HISTORY in bundle.manifest.files) is not weights_from_elsewhere  # the page draws its curve


def test_reviews(client: Client) -> None:
    texts = [
        "A wonderful film, one of the best I have seen in years.",
        "A terrible, boring film: a complete waste of time.",
        "great acting and a beautiful story, i loved it",
        "the plot is awful and the acting is even worse",
    ]
    assert list(map(best, client.predict("imdb_lstm", texts))) == ["positive", "negative"] * 2


def test_newswires(client: Client) -> None:
    texts = [
        "the usda said wheat and corn exports to the soviet union rose this season and the grain crop was good",
        "the company said net profit per share rose in the quarter, dividend cts per share",
        "the bank of england cut its money market rate, interest rates fell by a quarter pct",
    ]
    assert list(map(best, client.predict("reuters_dense", texts))) == ["grain", "earn", "interest"]


def test_a_larger_house_in_a_richer_place_costs_more(client: Client) -> None:
    rich = [*HOUSE[:5], 8.3, *HOUSE[6:12], 3.0]
    cheap, dear = (float(answer["price"][0]) for answer in client.predict("boston_housing", [HOUSE, rich]))
    assert 10 < cheap < 30 < dear < 60


def draw_digit(strokes: list[list[tuple[int, int]]], *, ink: int, paper: int) -> bytes:
    """A digit drawn with a pen on a page of 200 × 200 pixels, as a PNG."""
    page = Image.new("L", (200, 200), paper)
    for stroke in strokes:
        ImageDraw.Draw(page).line(stroke, ink, 9, joint="curve")
    file = BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


SEVEN = [[(20, 20), (70, 20), (40, 90)]]
ONE = [[(150, 40), (150, 140)]]
ZERO = [[(100, 40), (135, 65), (135, 125), (100, 150), (65, 125), (65, 65), (100, 40)]]
FOUR = [[(90, 60), (60, 120), (130, 120)], [(110, 60), (110, 160)]]


@pytest.mark.parametrize("colours", [{"ink": 20, "paper": 240}, {"ink": 255, "paper": 0}])
def test_digits_drawn_anywhere_on_a_page(client: Client, colours: dict[str, int]) -> None:
    pages = [draw_digit(strokes, **colours) for strokes in (SEVEN, ONE, ZERO, FOUR)]
    assert list(map(best, client.predict("mnist_convnet", pages))) == ["7", "1", "0", "4"]


def test_digits_of_a_latent_space_are_read_by_the_convnet(client: Client) -> None:
    pictures = client.sample("mnist_vae", n=20, seed=1).images
    scores = [answer["probabilities"][0].score for answer in client.predict("mnist_convnet", list(pictures))]
    assert np.median(scores) > 0.9


def test_texts_are_english_words(client: Client) -> None:
    text = "".join(client.generate("nietzsche_lstm", "the will to ", 300, 0.3, seed=1))
    words = text.split()
    assert sum(word in {"the", "of", "and", "to", "is", "in", "a", "that", "it", "all"} for word in words) > 8


def test_tomorrow_is_nearly_as_warm(client: Client) -> None:
    weeks = open_bundle(PRETRAINED, "jena_gru").examples().rows
    temperatures = [float(answer["temperature"][0]) for answer in client.predict("jena_gru", list(weeks))]
    assert np.abs(np.array(temperatures) - weeks[:, -1, 1]).max() < 8


@pytest.mark.skipif("BOOKSERVE_DATA" not in os.environ, reason="the book's photo is not part of the project")
def test_the_elephants(client: Client) -> None:
    photo = (Path(os.environ["BOOKSERVE_DATA"]) / "images" / "creative_commons_elephant.jpg").read_bytes()
    assert best(client.predict("imagenet_classifier", [photo])[0]) == "African elephant"

"""Test ``bookserve compose``: a composite gives the mean of its members, and is refused where there is no mean."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bookserve import bundle
from bookserve.client import connect
from bookserve.errors import BookserveError
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import BinaryLabel, Pad, Reverse, Words
from bookserve.verb import Predict
from export.cli import compose
from export.compose import compose_models
from export.verify.verify import verify_bundle
from tests.bundles import WORDS, write_affine, write_bundle, write_reviews, write_writer

ROWS = ["good bad film film film film good", "film good good bad", "good"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_reviews(tmp_path)
    write_reviews(tmp_path, "recent", 3)
    write_reviews(tmp_path, "latest", 1)
    return tmp_path


def score(home: Path, model: str) -> list[float]:
    with connect(f"local:{home}") as client:
        answers = client.predict(model, ROWS)
    return [next(label.score for label in answer["score"] if label.label == "positive") for answer in answers]  # type: ignore[union-attr]


def test_it_gives_the_weighted_mean_of_what_each_member_gives(home: Path) -> None:
    made, difference = compose_models(home, "vote", [("reviews", None, 3), ("recent", None, 2), ("latest", 1, 1)])
    by_hand = 0.5 * np.array(score(home, "reviews")) + np.array(score(home, "recent")) / 3
    np.testing.assert_allclose(score(home, "vote"), by_hand + np.array(score(home, "latest")) / 6, rtol=1e-6)
    assert len(set(score(home, "recent"))) > 1
    assert difference < 1e-6
    _, graph = made.graph()
    assert [(part.model, part.version) for part in graph.members if part.model] == [
        ("reviews", 1),
        ("recent", 1),
        ("latest", 1),
    ]
    assert graph.inputs["tokens"] == TensorSpec("int32", ("batch", 6))
    assert made.manifest.parameters == 21


def test_members_of_one_length_need_no_cutting(home: Path) -> None:
    write_reviews(home, "twin")
    made, _ = compose_models(home, "vote", [("reviews", None, 1), ("twin", None, 1)])
    assert list(made.manifest.graphs) == ["serving_default", "mean"]
    assert score(home, "vote") == pytest.approx(score(home, "reviews"))


def test_verify_passes_until_a_member_is_missing(home: Path) -> None:
    made, _ = compose_models(home, "vote", [("reviews", None, 1), ("recent", None, 1)])
    lines = list(verify_bundle(made))
    assert [(line.graph, line.ok, line.rows) for line in lines] == [
        ("serving_default", True, 2),
        ("cut", True, 2),
        ("mean", True, 2),
    ]
    write_reviews(home, "recent", 3)  # a newer version of a member changes nothing
    assert all(line.ok for line in verify_bundle(made))
    shutil.rmtree(home / "recent")
    (whole, *_) = verify_bundle(made)
    assert "recent" in whole.problem


def test_its_card_says_what_it_is_made_of(home: Path) -> None:
    made, _ = compose_models(home, "vote", [("reviews", None, 3), ("recent", None, 1)])
    card = (made.path / "README.md").read_text()
    for words in ("reviews/1 (0.75), recent/1 (0.25)", "made of `cut`, `reviews/1`, `recent/1`, `mean`"):
        assert words in card
    assert "TensorFlow Serving: signatures" not in card


def write_backwards(home: Path) -> None:
    """Write a model that reads the same words in reverse order."""
    graph = Graph(
        inputs={"tokens": TensorSpec("int32", ("batch", 6))},
        outputs={"score": TensorSpec("float32", ("batch", 1))},
        onnx="model.onnx",
    )
    from onnx import helper

    nodes = [
        helper.make_node("Cast", ["tokens"], ["numbers"], to=1),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["score"], keepdims=1),
    ]
    verb = Predict(
        inputs={"tokens": (Words(WORDS), Reverse(), Pad(6))},
        outputs={"score": (BinaryLabel(("negative", "positive")),)},
    )
    feeds = {"serving_default": verb.encode(["good bad"])}
    constants = {"axes": np.array([1], np.int64)}
    write_bundle(home, "backwards", verb, {"serving_default": (graph, nodes, constants)}, feeds)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("reviews", None, 1)], "two members or more"),
        ([("reviews", None, 1), ("recent", None, 0)], "positive number"),
        ([("reviews", None, 1), ("recent", None, -1)], "positive number"),
        ([("reviews", None, 1), ("recent", None, float("nan"))], "positive number"),
        ([("reviews", None, 1), ("recent", None, float("inf"))], "positive number"),
        ([("reviews", None, 1), ("reviews", 1, 1)], "named twice"),
        ([("reviews", None, 1), ("missing", None, 1)], "no model 'missing'"),
        ([("reviews", None, 1), ("recent", 7, 1)], "no version 7"),
        ([("reviews", None, 1), ("writer", None, 1)], "does not predict"),
        ([("reviews", None, 1), ("affine", None, 1)], "the outputs of .* differ"),
        ([("reviews", None, 1), ("backwards", None, 1)], "encode rows differently"),
        ([("reviews", None, 1), ("whole", None, 1)], "is a composite itself"),
        ([("affine", 1, 1), ("affine", 2, 1)], "has no raw rows"),
    ],
)
def test_what_has_no_mean_is_refused(home: Path, members: list[tuple[str, int | None, float]], problem: str) -> None:
    write_affine(home)
    write_affine(home)
    write_writer(home)
    write_backwards(home)
    compose_models(home, "whole", [("reviews", None, 1), ("recent", None, 1)])
    with pytest.raises(BookserveError, match=problem):
        compose_models(home, "vote", members)
    assert bundle.versions(home, "vote") == []


def test_the_command_prints_what_it_made(home: Path) -> None:
    made = CliRunner().invoke(compose, ["vote", "reviews/1=3", "recent", "--models", str(home)])
    assert made.exit_code == 0, made.output
    assert re.match(
        r"vote/1: the weighted mean of reviews/1 \(0\.75\), recent/1 \(0\.25\), largest difference", made.output
    )
    wrong = CliRunner().invoke(compose, ["vote", "reviews=much", "recent", "--models", str(home)])
    assert wrong.exit_code == 2
    assert "the share 'much'" in wrong.output

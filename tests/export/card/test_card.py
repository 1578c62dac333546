"""Test model cards: every example in a card is run against a server that serves the bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookserve.bundle import Bundle
from bookserve.verb import Predict
from export.card.model_card import write_card
from tests.export.card_snippets import objects_in, run_card
from tests.servers import Server, start


@pytest.fixture(scope="module")
def server(bundles: dict[str, Bundle]) -> Iterator[Server]:
    with start(bundles["convnet"].path.parent.parent) as server:
        yield server


def outputs_of(v2: dict[str, object]) -> dict[str, np.ndarray]:
    return {item["name"]: np.reshape(item["data"], item["shape"]) for item in v2["outputs"]}


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
@pytest.mark.parametrize("task", ["convnet", "reviews", "writer", "plane", "prices"])
def test_every_block_of_a_card_can_be_run(
    server: Server, bundles: dict[str, Bundle], tmp_path: Path, task: str
) -> None:
    people, python, tensors = run_card(bundles[task], server.http, tmp_path)
    verb = {"writer": "generate", "plane": "sample"}.get(task, "predict")
    answer = objects_in(people)[-1]
    assert answer["model"] == task
    assert {"generate": "text", "sample": "images", "predict": "answers"}[verb] in answer
    if task == "plane":
        assert (tmp_path / "pictures.png").read_bytes().startswith(b"\x89PNG")
    else:
        assert python.strip()
    row, v2 = objects_in(tensors)
    example = bundles[task].examples().graphs[bundles[task].manifest.default]
    for name, array in outputs_of(v2).items():
        # The first row of the example; where its numbers are written out they were rounded.
        np.testing.assert_allclose(array, example.outputs[name][:1], rtol=0.02, atol=0.02)
    first = row["predictions"][0]
    (given,) = example.outputs.values()
    np.testing.assert_allclose(first, given[0], rtol=0.02, atol=0.02)


def test_a_card_shows_raw_rows(bundles: dict[str, Bundle]) -> None:
    """The Steps run in the server: a row is shown as people have it, not as the input tensor."""
    bundle = bundles["prices"]
    card = (bundle.path / "README.md").read_text("utf-8")
    line = next(line for line in card.splitlines() if line.startswith("curl") and "/api/models/prices/predict" in line)
    (row,) = json.loads(line.partition(" -d ")[2].strip("'"))["rows"]
    np.testing.assert_allclose(row, bundle.examples().rows[0], atol=1e-3)


def test_a_card_names_the_columns_of_raw_rows(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["prices"]
    assert isinstance(bundle.manifest.verb, Predict)
    ((name, (first, *others)),) = bundle.manifest.verb.inputs.items()
    named = msgspec.structs.replace(first, columns=("rooms", "age", "b", "c", "d"))
    verb = msgspec.structs.replace(bundle.manifest.verb, inputs={name: (named, *others)})
    card = write_card(msgspec.structs.replace(bundle.manifest, verb=verb), bundle.examples(), {}, bundle.path)
    assert "along the last axis: rooms, age, b, c, d." in card
    assert "## Raw rows" not in (bundle.path / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("convnet", "`classify` for Classify: each `tf.Example` has the feature `image`, a `float_list` of 12 × 12"),
        (
            "reviews",
            "`classify` for Classify: each `tf.Example` has the feature `tokens`, a `int64_list` of 20 numbers",
        ),
        ("prices", "`regress` for Regress: each `tf.Example` has the feature `figures`, a `float_list` of 5 numbers"),
        ("writer", "signatures for Predict: `serving_default`, `step`."),
        ("plane", "signatures for Predict: `decode`, `encode`, and `serving_default`, which is the first of them."),
    ],
)
def test_a_card_names_what_the_other_servers_find(bundles: dict[str, Bundle], task: str, text: str) -> None:
    card = (bundles[task].path / "README.md").read_text("utf-8")
    assert text in card
    assert "Triton: `config.pbtxt` in the model's directory" in card

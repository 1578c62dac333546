"""Concept vectors are exact for a linear encoder; pictures are selected by folder or by label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve import images as pictures
from bookserve.bundle.examples import Examples
from bookserve.errors import InvalidInput, NotFound
from bookserve.run import Origin, Recipe, Run, create_run
from bookserve.steps import Pixels, vocabulary
from bookserve.verb import Sample


def test_a_concept_of_a_linear_encoder_is_exact() -> None:
    from trainers.inspect.concepts import concept_vector, move_along

    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(16, 3)).astype(np.float32)
    difference = rng.normal(size=16).astype(np.float32)
    plain = rng.normal(size=(5, 16)).astype(np.float32)

    def encode(rows: Any) -> np.ndarray:
        return np.asarray(rows) @ matrix

    vector = concept_vector(encode, plain + difference, plain)
    np.testing.assert_allclose(vector, difference @ matrix, atol=1e-5)
    moved = move_along(encode, lambda points: points, plain, vector, (0, 1, 2))
    assert moved.shape == (5, 3, 3)
    np.testing.assert_allclose(moved[:, 1], encode(plain + difference), atol=1e-4)
    np.testing.assert_allclose(moved[:, 2], encode(plain + 2 * difference), atol=1e-4)
    with pytest.raises(InvalidInput, match="pictures without"):
        concept_vector(encode, plain, plain[:0])


def test_a_concept_is_drawn_from_folders_and_labels(tmp_path: Path, look: Any) -> None:
    from trainers.ch08 import mnist_vae

    verb = Sample(latent=2, after=(Pixels(),), before=mnist_vae.VERB.before, encode="encode")
    vae = mnist_vae.build(None, {"learning_rate": 0.001, "divergence_weight": 1e-3})  # type: ignore[arg-type]
    run = create_run(tmp_path / "runs", "mnist_vae")
    vae.save(run.path / "model.keras")
    origin = Origin(task="mnist_vae", section="8.4", summary="", data="sample", dataset="", book={}, metric="")
    vocabulary.save_vocabularies(Recipe(origin=origin, verb=verb, graphs={}), run.path / "task.json")
    Examples({}, np.zeros((1, 28, 28), np.uint8)).save(run.path / "examples.npz")
    run.write("metrics.json", {})
    for name, stroke in (("with", np.s_[12:16, 4:24]), ("without", np.s_[4:24, 12:16])):
        drawn = np.zeros((28, 28), np.uint8)
        drawn[stroke] = 200
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.png").write_bytes(pictures.encode_png(drawn))
    out = ("-o", tmp_path / "out")
    look("concept", run.path, "--with", tmp_path / "with", "--without", tmp_path / "without", *out)
    look("concept", run.path, "--with", "7", "--without", "1", "-n", 3, *out)
    first, second = (pictures.decode_image((tmp_path / "out" / name).read_bytes()) for name in sorted(FILES))
    assert first.shape == (3 * 56, 7 * 56, 1)
    assert second.shape == (56, 7 * 56, 1)
    with pytest.raises(NotFound, match=r"'eleven' is neither a folder nor a label.*Its labels are 0, 1"):
        look("concept", run.path, "--with", "eleven", "--without", "1", *out)
    with pytest.raises(InvalidInput, match="has no classes: its verb is sample"):
        look("gradcam", run.path, *out)


FILES = ("concept_7_without_1.png", "concept_with_without_without.png")


def test_a_concept_needs_an_encoder(run: Run, look: Any) -> None:
    with pytest.raises(InvalidInput, match="has no encoder: its verb is predict"):
        look("concept", run.path, "--with", "1", "--without", "0")

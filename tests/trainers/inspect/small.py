"""The inputs and outputs of the small network of these tests, and functions that make runs and bundles of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bookserve.bundle import Manifest, new_version, seal
from bookserve.bundle.examples import Examples
from bookserve.run import Origin, Recipe, Run, create_run
from bookserve.steps import Image, Scale, TopLabels, vocabulary
from bookserve.verb import Predict, Verb
from trainers.inspect.trained_model import KERAS_MODEL_IN_BUNDLE, Affine

SIZE = 12
CORNERS = ("none", "top left")
VERB = Predict(
    inputs={"image": (Image(SIZE, SIZE, 1), Scale(1 / 255))}, outputs={"probabilities": (TopLabels(CORNERS),)}
)
ORIGIN = Origin(
    task="mnist_convnet", section="5.1", summary="", data="sample", dataset="made by hand", book={}, metric=""
)
GREY = Affine(np.array([[1 / 255]], np.float32), np.zeros(1, np.float32))


def keep(model: Any, runs: Path, verb: Verb, rows: np.ndarray, task: str = "mnist_convnet") -> Run:
    """A finished run, as far as it is read here."""
    run = create_run(runs, task)
    model.save(run.path / "model.keras")
    vocabulary.save_vocabularies(Recipe(origin=ORIGIN, verb=verb, graphs={}), run.path / "task.json")
    Examples({}, rows).save(run.path / "examples.npz")
    run.write("metrics.json", {})
    return run


def bundle_of(run: Run, models: Path) -> Path:
    with new_version(models, run.task) as directory:
        (directory / "assets").mkdir()
        (directory / KERAS_MODEL_IN_BUNDLE).write_bytes((run.path / "model.keras").read_bytes())
        (directory / "examples.npz").write_bytes((run.path / "examples.npz").read_bytes())
        seal(directory, Manifest(name=run.task, verb=run.recipe.verb, graphs={}, origin=run.recipe.origin))
    return models / run.task


def seen(photo: np.ndarray) -> np.ndarray:
    return VERB.encode(photo[None])["image"]

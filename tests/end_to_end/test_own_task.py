"""Adding a model touches one file: a new task file is listed, trained, exported and served like the book's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from bookserve.cli.programs import PROGRAMS, home
from tests.servers import start

TASK = '''"""A model of one's own: which of two numbers is larger.

Expected: test accuracy above 0.9.
"""

from __future__ import annotations

import numpy as np

from bookserve.steps import BinaryLabel, Numbers
from bookserve.verb import Predict
from trainers.datasets.generated import Generated
from trainers.preparation import baseline
from trainers.preparation.generated_data import divided
from trainers.task import Task

VERB = Predict(
    inputs={"pair": (Numbers("float32", (2,)),)},
    outputs={"probability": (BinaryLabel(("first", "second")),)},
)


def data(kind, params):
    rows = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    labels = (rows[:, 1] > rows[:, 0]).astype(np.int64)
    return divided(VERB, Generated("pairs of numbers", rows, labels), baseline.commonest(labels))


def build(data, params):
    import keras

    model = keras.Sequential([keras.Input((2,), name="pair"), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.RMSprop(params["learning_rate"]), "binary_crossentropy", metrics=["accuracy"])
    return model


TASK = Task(
    section="9.9",
    listings="–",
    summary="which of two numbers is larger",
    dataset="generated",
    verb="predict",
    shown="nothing",
    metric="test_accuracy",
    params={"epochs": 3, "batch_size": 16, "learning_rate": 0.05},
    data=data,
    build=build,
)
'''


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of bookserve's packages with one file more."""
    for package in ("bookserve", *PROGRAMS):
        shutil.copytree(home() / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "trainers" / "ch09" / "larger.py").write_text(TASK, "utf-8")
    return tmp_path


def test_one_file_more_is_one_model_more(copy: Path) -> None:
    def bookserve(*words: str) -> str:
        command = [sys.executable, "-m", "bookserve", *words]
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "larger" in [task["name"] for task in json.loads(bookserve("tasks", "--json"))]
    assert "no skill" in bookserve("train", "larger", "--data", "sample")
    (metrics,) = copy.glob("runs/larger/*/metrics.json")
    assert json.loads(metrics.read_text())["test_accuracy"] > 0.9
    bookserve("export", "larger")
    with start(copy / "models") as server:
        body = json.dumps({"rows": [[1.0, 3.0], [3.0, 1.0]]}).encode()
        with urllib.request.urlopen(f"{server.http}/api/models/larger/predict", body, timeout=30) as answer:
            said = json.load(answer)
    assert [row["probability"][0]["label"] for row in said["answers"]] == ["second", "first"]

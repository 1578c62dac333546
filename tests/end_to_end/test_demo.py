"""The whole way once, as a reader runs it: ``bookserve demo`` on the embedded sample data, then again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import httpx
import numpy as np
import pytest

from bookserve import bundle, images, run
from bookserve.cli.demo import TASKS
from bookserve.cli.programs import home
from tests.hostile_directory import write_hostile_files

pytestmark = pytest.mark.timeout(900)


def bookserve(*arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, "-m", "bookserve", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(home())}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def said(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the demo prints, in a directory where other files have the names of bookserve's packages."""
    elsewhere = write_hostile_files(tmp_path_factory.mktemp("hostile"))
    return bookserve("demo", "--directory", str(directory), cwd=elsewhere)


def test_every_stage_is_in_the_table(said: str, directory: Path) -> None:
    table = said[said.index("bookserve demo, on sample data") :]
    for stage in (*(f"train {task}" for task in TASKS), "export", "verify", "serve", "generate at 0.2", "stop"):
        assert stage in table
    assert str(directory / "pictures") in table
    for line in table.splitlines():
        if line.startswith("train "):
            assert "sample" in line


def test_the_runs_are_trained_well_enough(said: str, directory: Path) -> None:
    figures = {task: run.latest_run(directory / "runs", task).metrics for task in TASKS}
    assert figures["mnist_convnet"]["test_accuracy"] > 0.95
    assert figures["imdb_lstm"]["test_accuracy"] > 0.8


def test_the_pictures_are_digits_as_our_own_convnet_reads_them(said: str, directory: Path) -> None:
    grid = images.decode_image((directory / "pictures/digits_grid.png").read_bytes())
    side = grid.shape[0] // 15
    tiles = grid.reshape(15, side, 15, side, -1).swapaxes(1, 2).reshape(225, side, side, -1)
    rows = tiles.tolist()
    path = directory / "tiles.json"
    path.write_text(json.dumps(rows))
    answers = json.loads(
        bookserve("predict", "mnist_convnet", str(path), "--url", f"local:{directory}/models", "--json")
    )
    best = [answer["probabilities"][0] for answer in answers]
    assert np.mean([label["score"] for label in best]) > 0.7
    assert len({label["label"] for label in best if label["score"] > 0.9}) >= 6


def test_the_text_is_made_of_words(said: str, directory: Path) -> None:
    known = set(re.findall("[a-z]+", " ".join(topics.values()).lower()))
    words = re.findall("[a-z]+", (directory / "pictures/text_0.2.txt").read_text("utf-8"))
    assert len(words) > 40
    assert sum(word in known for word in words) / len(words) > 0.5  # of random letters, one word in fifty is


def test_again_with_trained_runs_and_the_server_kept(said: str, directory: Path) -> None:
    again = bookserve("demo", "--directory", str(directory), "--keep")
    assert again.count("trained before") >= len(TASKS)
    address, pid = next(word for word in again.split() if word.startswith("http://")), int(again.split()[-1])
    try:
        assert httpx.get(f"{address}/v2/health/ready").status_code == 200
        models = httpx.get(f"{address}/api/models").json()["models"]
        assert {model["name"] for model in models} == set(TASKS)
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_bundle_truncated_by_a_bad_copy_is_refused_by_name(said: str, directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory / "models/mnist_convnet", tmp_path / "mnist_convnet")
    model = bundle.open_bundle(tmp_path, "mnist_convnet").path / "model.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    command = [sys.executable, "-m", "bookserve", "predict", "mnist_convnet", "[0]", "--url", f"local:{tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "model.onnx" in done.stderr

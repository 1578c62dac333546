"""Processes that trainings start must not import a stranger's files in the user's current directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bookserve.run import list_runs

#: Names of bookserve's own packages, as files and as folders.
STRANGERS = ("bookserve.py", "trainers.py", "serve.py", "export/__init__.py", "clients/__init__.py")


@pytest.fixture
def hostile_directory(tmp_path: Path) -> Path:
    """A directory whose files end the process when they are imported."""
    for name in STRANGERS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"raise SystemExit('a stranger: {name} was imported')\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (("--distribute", "multiworker", "--workers", "2"), {}),  # starts the workers
        ((), {"KERAS_BACKEND": "jax"}),  # starts a process that writes the SavedModel
    ],
    ids=["workers", "jax"],
)
def test_a_training_ignores_files_in_the_current_directory(
    hostile_directory: Path, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    train = [
        "train",
        "mnist_dense",
        "--data",
        "sample",
        "--epochs",
        "1",
        "-p",
        "steps_per_epoch=5",
        "--device",
        "cpu",
        *words,
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bookserve", *train],
        cwd=hostile_directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "a stranger" not in done.stdout + done.stderr
    (run,) = list_runs(hostile_directory / "runs")
    assert run.finished
    assert (run.path / "saved_model" / "saved_model.pb").is_file()


def test_the_speed_of_keras_is_measured_in_such_a_directory(hostile_directory: Path) -> None:
    """As ``clients/bench/texts.py`` starts it; the bundle does not exist, which is another error."""
    command = [sys.executable, "-P", "-m", "trainers.text_speed", "absent"]
    done = subprocess.run(command, cwd=hostile_directory, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "absent" in done.stderr
    assert "a stranger" not in done.stderr

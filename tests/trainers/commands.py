"""Trainings in processes of their own, and what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve import run as runs_
from bookserve.run import Run


def bookserve(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bookserve", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def trained(runs: Path, *words: str, **environment: str) -> Run:
    done = bookserve("train", *words, "--runs", str(runs), **environment)
    assert done.returncode == 0, done.stderr
    (run,) = runs_.list_runs(runs)
    return run


def figures(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.metrics.items() if name not in ("seconds", "book")}


def weights(run: Run) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in keras.models.load_model(run.path / "model.keras").get_weights()]


def killed_after_an_epoch(runs: Path, *words: str) -> Run:
    """Kill the command and all that it started, between its first epoch and its last."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bookserve", "train", *words, "--runs", str(runs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    with process:
        next(line for line in process.stdout if line.startswith("epoch 1/"))
        os.killpg(process.pid, signal.SIGKILL)
    (run,) = runs_.list_runs(runs)
    assert (run.path / "checkpoint" / "epoch.npz").exists()
    assert not run.finished
    return run

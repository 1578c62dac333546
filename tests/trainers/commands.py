"""Run ``bookserve`` in other processes, and read the runs that trainings leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve.run import Run, list_runs


def bookserve(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it; ``environment`` adds environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "bookserve", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def trained(runs: Path, *words: str, **environment: str) -> Run:
    """The only run under ``runs`` after ``bookserve train`` with these words."""
    done = bookserve("train", *words, "--runs", str(runs), **environment)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(runs)
    return run


def figures(run: Run) -> dict[str, Any]:
    """Everything in ``metrics.json`` that must repeat with the same seed."""
    return {name: value for name, value in run.metrics.items() if name not in ("seconds", "book")}


def weights(run: Run) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in keras.models.load_model(run.path / "model.keras").get_weights()]


def killed_after_an_epoch(runs: Path, *words: str) -> Run:
    """Kill the command and all processes that it started, after its first epoch and before its last."""
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
    (run,) = list_runs(runs)
    assert (run.path / "checkpoint" / "epoch.npz").exists()
    assert not run.finished
    return run

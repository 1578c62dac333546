"""Workers of a training do not import a stranger's files in the user's current directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bookserve.cli.programs import home
from bookserve.run import list_runs
from tests.hostile_directory import write_hostile_files


def test_workers_ignore_files_in_the_current_directory(tmp_path: Path) -> None:
    """``tests/test_hostile_directory.py`` does the same for a training on JAX."""
    write_hostile_files(tmp_path)
    words = ["mnist_dense", "--data", "sample", "--epochs", "1", "-p", "steps_per_epoch=5", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "bookserve", "train", *words, "--distribute", "multiworker", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(tmp_path / "runs")
    assert run.finished
    assert (run.path / "saved_model" / "saved_model.pb").is_file()

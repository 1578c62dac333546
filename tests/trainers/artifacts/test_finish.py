"""A run that was trained without TensorFlow has its figures, and is finished on a machine that has TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed
from bookserve.run import Run, latest_run
from tests.trainers.commands import figures
from trainers.cli.finish import finish

#: ``bookserve`` on a machine without TensorFlow.
WITHOUT = "import sys; sys.modules['tensorflow'] = None; from bookserve.cli.main import main; main()"


def finished_by_command(run: Run) -> str:
    words = [str(run.path), "--runs", str(run.path.parent.parent)]
    return CliRunner().invoke(finish, words, catch_exceptions=False).output


def check_saved_model(run: Run) -> None:
    signatures = tf.saved_model.load(str(run.path / "saved_model")).signatures
    for graph, example in Examples.load(run.path / "examples.npz").graphs.items():
        outputs = signatures[graph](**{key: tf.constant(array) for key, array in example.inputs.items()})
        for key, expected in example.outputs.items():
            np.testing.assert_allclose(outputs[key], expected, rtol=1e-3, atol=1e-4)


def copy_run(run: Run, runs: Path, *left_out: str) -> Run:
    path = runs / run.task / run.path.name
    shutil.copytree(run.path, path, ignore=shutil.ignore_patterns(*left_out))
    return Run(path)


def test_without_tensorflow_a_run_has_everything_but_the_saved_model(tmp_path: Path) -> None:
    words = ["train", "mnist_dense", "--data", "sample", "--epochs", "1", "--runs", str(tmp_path)]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = latest_run(tmp_path, "mnist_dense")
    assert f"bookserve finish {run.name}" in done.stdout
    assert run.metrics["test_accuracy"] > 0.5
    assert not run.has_saved_model
    assert not (run.path / "checkpoint").exists()
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir() if path.name != "examples.npz"}
    assert "finished" in finished_by_command(run)
    check_saved_model(run)
    assert {name: (run.path / name).stat().st_mtime_ns for name in before} == before
    assert "nothing is missing" in finished_by_command(run)


def test_a_frozen_base_is_part_of_the_run(finished: Callable[[str], Run], tmp_path: Path) -> None:
    run = copy_run(finished("cats_dogs_features"), tmp_path, "saved_model")
    finished_by_command(run)
    check_saved_model(run)


def scale_outputs(run: Run, factor: float) -> None:
    """Change the example outputs, as if another machine had computed them."""
    examples = Examples.load(run.path / "examples.npz")
    graphs = {
        name: Example(example.inputs, {key: array * factor for key, array in example.outputs.items()})
        for name, example in examples.graphs.items()
    }
    Examples(graphs, examples.rows).save(run.path / "examples.npz")


def test_outputs_that_a_gpu_rounded_are_computed_again(finished: Callable[[str], Run], tmp_path: Path) -> None:
    run = copy_run(finished("mnist_dense"), tmp_path, "saved_model")
    expected = Examples.load(run.path / "examples.npz").graphs["serving_default"].outputs
    scale_outputs(run, 1.01)
    finished_by_command(run)
    for key, array in Examples.load(run.path / "examples.npz").graphs["serving_default"].outputs.items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-5)


def test_outputs_of_another_model_are_refused(finished: Callable[[str], Run], tmp_path: Path) -> None:
    run = copy_run(finished("mnist_dense"), tmp_path, "saved_model")
    scale_outputs(run, 1.2)
    with pytest.raises(Failed, match="does not give the outputs"):
        finished_by_command(run)


def test_figures_are_measured_if_only_the_model_and_its_history_are_left(
    finished: Callable[[str], Run], tmp_path: Path
) -> None:
    whole = finished("mnist_dense")
    lost = ("saved_model", "metrics.json", "task.json", "examples.npz", "environment.json")
    run = copy_run(whole, tmp_path, *lost)
    finished_by_command(run)
    assert figures(run) == pytest.approx(figures(whole), rel=1e-5)
    assert run.recipe == whole.recipe
    check_saved_model(run)


def test_a_training_that_has_not_ended_is_not_finished(finished: Callable[[str], Run], tmp_path: Path) -> None:
    run = copy_run(finished("mnist_dense"), tmp_path, "metrics.json", "model.keras")
    with pytest.raises(Failed, match="has not ended") as error:
        finished_by_command(run)
    assert error.value.hint == "Continue it: bookserve train mnist_dense --resume"

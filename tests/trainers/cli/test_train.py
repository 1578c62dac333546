"""The command ``train`` (and ``compare``): error messages, exit codes, and resuming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bookserve.bundle.examples import Examples
from bookserve.run import latest_run, list_runs
from tests.trainers.commands import bookserve
from trainers import catalogue, settings
from trainers.cli.train import parse_parameters, train
from trainers.datasets.dataset import Kind


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "mnist_convnt"], 3, "Did you mean 'mnist_convnet'"),
        (["train"], 2, "one or more tasks"),
        (["train", "mnist_vae", "--all"], 2, "one or more tasks"),
        (["train", "mnist_vae", "-p", "epoch=3"], 5, "It has: epochs=10, batch_size=16"),
        (["train", "mnist_vae", "-p", "epochs=many"], 5, "epochs must be a whole number"),
        (["train", "mnist_vae", "-p", "learning_rate=nan"], 5, "learning_rate must be 0 or more"),
        (["train", "mnist_vae", "-p", "batch_size=0"], 5, "batch_size must be 1 or more"),
        (["train", "mnist_vae", "-p", "seed=3"], 5, "seed has an option of its own: --seed"),
        (["train", "mnist_vae", "--weights", "vgg.h5"], 5, "'weights=vgg.h5' does not set a parameter"),
        (["train", "mnist_vae", "--data", "other"], 2, "'other'"),
        (["train", "mnist_vae", "--resume", "--seed", "0"], 2, "--resume continues"),
        (["compare", "mnist_vae", "mnist_vae/2020-01-01T00-00-00Z", "--runs", "nowhere"], 3, "no finished run"),
    ],
)
def test_errors_are_a_message_and_an_exit_code(words: list[str], code: int, said: str) -> None:
    done = bookserve(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_error_for_missing_data_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    done = bookserve("train", "mnist_convnet", "--runs", str(tmp_path / "runs"))
    assert done.returncode == 3
    assert "--data sample" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_resume_without_an_unfinished_run_is_not_found(tmp_path: Path) -> None:
    done = bookserve("train", "mnist_vae", "--resume", "--runs", str(tmp_path))
    assert done.returncode == 3
    assert "no unfinished run of 'mnist_vae'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2  # TensorFlow's own messages are not shown


@pytest.mark.parametrize("kind", ["real", "sample"])
def test_every_value_that_a_run_holds_can_be_given(kind: Kind) -> None:
    """The usual defaults of the settings, too, where a task has its own: samples_every=0."""
    for task in catalogue.load_tasks():
        for held in (task.defaults(kind), {**task.defaults(kind), **settings.DEFAULTS}):
            assert parse_parameters(task, kind, tuple(f"{name}={value}" for name, value in held.items()), None) == held


def test_fine_tuning_starts_from_a_run_of_the_frozen_base(tmp_path: Path) -> None:
    small = ["--data", "sample", "--epochs", "1", "--runs", str(tmp_path)]
    small += [word for value in ("size=32", "width=0.0625", "steps_per_epoch=1") for word in ("-p", value)]
    tuned = ["cats_dogs_finetuned", *small, "-p", "learning_rate=0"]
    done = CliRunner().invoke(train, [*tuned, "-p", "start=cats_dogs_frozen"])
    assert "no finished run of 'cats_dogs_frozen'" in str(done.exception)
    CliRunner().invoke(train, ["cats_dogs_frozen", *small, "-p", "blocks=5"], catch_exceptions=False)
    frozen = latest_run(tmp_path, "cats_dogs_frozen")
    for start in ("cats_dogs_frozen", frozen.name, str(frozen.path / "model.keras")):
        done = CliRunner().invoke(train, [*tuned, "-p", f"start={start}"], catch_exceptions=False)
        assert f"starts from {frozen.path / 'model.keras'}" in done.output
        run = latest_run(tmp_path, "cats_dogs_finetuned")
        assert run.read("params.json")["start"] == frozen.name
        answers = [Examples.load(found.path / "examples.npz").graphs["serving_default"] for found in (run, frozen)]
        np.testing.assert_allclose(answers[0].outputs["probability"], answers[1].outputs["probability"], rtol=1e-5)
    done = CliRunner().invoke(train, tuned, catch_exceptions=False)
    assert f"-p start={frozen.name}" in done.output
    known = len(list(list_runs(tmp_path)))
    done = CliRunner().invoke(train, [*tuned, "-p", "width=0.125", "-p", "start=cats_dogs_frozen"])
    assert "does not fit" in str(done.exception)
    assert len(list(list_runs(tmp_path))) == known

"""The training loop: the same seed gives the same figures, also if training was interrupted."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from bookserve.errors import Failed, NotFound
from bookserve.run import Run, list_runs
from bookserve.steps import Scale
from tests.trainers.commands import figures
from tests.trainers.tiny_task import EPOCHS, TINY, interrupt_after, start_tiny
from trainers import catalogue, training
from trainers.artifacts import samples
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays
from trainers.engine.batches import TrainingBatches
from trainers.preparation.augmentation import random_affine


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of seed 3 that was never interrupted."""
    return start_tiny(tmp_path_factory.mktemp("whole"))


def test_a_resumed_run_ends_like_an_uninterrupted_one(whole: Run, tmp_path: Path) -> None:
    for epoch in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            if epoch == 2:
                start_tiny(tmp_path / "cut", report=interrupt_after(epoch))
            else:
                training.resume_training(TINY, tmp_path / "cut", report=interrupt_after(epoch))
        (unfinished,) = list_runs(tmp_path / "cut")
        assert not unfinished.finished
    lines: list[str] = []
    resumed = training.resume_training(TINY, tmp_path / "cut", report=lines.append)
    assert resumed.path == unfinished.path
    assert [line.split()[1] for line in lines] == [f"{EPOCHS}/{EPOCHS}"]
    assert figures(resumed) == figures(whole)
    assert (resumed.path / "history.csv").read_text() == (whole.path / "history.csv").read_text()
    with pytest.raises(NotFound, match="unfinished"):
        training.resume_training(TINY, tmp_path / "cut", report=lines.append)


def test_an_interrupt_while_finishing_loses_no_epoch(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            start_tiny(tmp_path / "cut")
    lines: list[str] = []
    resumed = training.resume_training(TINY, tmp_path / "cut", report=lines.append)
    assert lines == []
    assert figures(resumed) == figures(whole)


def test_the_seed_decides(whole: Run, tmp_path: Path) -> None:
    assert figures(start_tiny(tmp_path, seed=3)) == figures(whole)
    assert figures(start_tiny(tmp_path, seed=4)) != figures(whole)


def test_samples_are_shown_after_the_epochs_that_ask_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "write_samples", lambda run, verb, models, graphs, seed: f"from {list(models)}")
    lines: list[str] = []
    start_tiny(tmp_path, lines.append, samples_every=2)
    shown = [index for index, line in enumerate(lines) if line == "from ['serving_default']"]
    assert [lines[index - 1].split()[1] for index in shown] == ["2/5", "4/5", "5/5"]


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        start_tiny(tmp_path, report=interrupt_after(1))
    (path,) = tmp_path.glob("tiny/*/checkpoint/epoch.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Failed, match=r"epoch\.npz cannot be resumed from"):
        training.resume_training(TINY, tmp_path, report=lambda line: None)


def test_batches_are_a_new_order_of_all_rows_in_each_epoch() -> None:
    def orders(epoch: int, epochs: int) -> list[list[float]]:
        batches = TrainingBatches(TrainingArrays(np.arange(10), np.arange(10)), 4, seed=1, epoch=epoch)
        seen = []
        for _ in range(epochs):
            batches.on_epoch_begin()
            assert [len(batches[index][0]) for index in range(len(batches))] == [4, 4, 2]
            seen.append(np.concatenate([batches[index][0] for index in range(len(batches))]).tolist())
        return seen

    first = orders(0, 3)
    assert all(sorted(order) == list(range(10)) for order in first)
    assert len({tuple(order) for order in first}) == 3
    assert orders(2, 1) == first[2:]


def test_ctrl_c_leaves_a_run_that_the_command_continues(tmp_path: Path) -> None:
    """A real signal in the middle of an epoch; the message says how to continue."""
    words = ["train", "mnist_convnet", "--data", "sample", "--epochs", "40", "-p", "batch_size=128", "--runs", "runs"]
    command = [sys.executable, "-m", "bookserve"]
    process = subprocess.Popen(
        [*command, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("epoch 2/40"):
            process.send_signal(signal.SIGINT)
            break
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "bookserve train mnist_convnet --runs runs --resume" in said
    (run,) = list_runs(tmp_path / "runs")
    assert not run.finished
    run.write("params.json", {**run.read("params.json"), "epochs": 4})  # no need to train all 40
    lines: list[str] = []
    training.resume_training(catalogue.find_task("mnist_convnet"), tmp_path / "runs", report=lines.append)
    assert lines[-1].startswith("epoch 4/4")
    assert run.metrics["epochs"] == 4
    assert run.metrics["test_accuracy"] > 0.5


def test_batches_computed_ahead_are_those_computed_one_by_one() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (70, 6, 6, 3)).astype(np.uint8)
    augment = random_affine(turn=40, shift=0.2, shear=0.2, zoom=0.2, flip=True)
    arrays = TrainingArrays(LazilyEncoded(rows, (Scale(1 / 255),), augment), np.arange(70))
    ahead, alone = (TrainingBatches(arrays, 4, seed=5, steps=30) for _ in range(2))
    for _ in range(2):
        ahead.on_epoch_begin()
        copy.copy(alone).on_epoch_begin()  # a copy, as each replica has one, has an order of its own
        alone.on_epoch_begin()
        wanted = [alone._compute(index) for index in range(30)]
        order = [*range(20), 3, *range(20, 30)]  # Keras may ask again
        for index in order:
            assert all(np.array_equal(a, b) for a, b in zip(ahead[index], wanted[index], strict=True))
        ahead.on_epoch_end()

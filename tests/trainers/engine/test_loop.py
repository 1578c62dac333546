"""The training loop: the same seed gives the same numbers, also when training was interrupted on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from bookserve import run as runs_
from bookserve.errors import Failed, NotFound
from bookserve.run import Run
from bookserve.steps import Numbers
from bookserve.verb import Predict
from trainers import catalogue, training
from trainers.arrays import TrainingArrays
from trainers.artifacts import samples
from trainers.datasets.dataset import Kind
from trainers.engine.batches import TrainingBatches
from trainers.task import Data, Params, Task

EPOCHS = 5


def data(kind: Kind, params: Params) -> Data:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    y = (x @ [1, -2, 3, 0]).astype(np.float32)
    verb = Predict(inputs={"x": (Numbers("float32", (4,)),)}, outputs={"y": ()})
    pairs = TrainingArrays(x, y)
    return Data(verb, "sums", pairs, pairs, pairs, x[:8], {"serving_default": {"x": x[:8]}})


def build(data: Data, params: Params) -> keras.Model:
    inputs = keras.Input((4,), name="x")
    x = keras.layers.Dropout(0.2)(keras.layers.Dense(8, activation="relu")(inputs))  # random: its state must go on too
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mse")
    return model


PARAMS = {"epochs": EPOCHS, "batch_size": 10, "learning_rate": 0.01, "jit_compile": False}
TINY = Task(
    section="0.1",
    listings="",
    summary="a sum",
    dataset="",
    verb="predict",
    metric="test_loss",
    params=PARAMS,
    data=data,
    build=build,
    name="tiny",
)


def begin(runs: Path, seed: int = 3, say: Callable[[str], None] = lambda line: None) -> Run:
    return training.start_training(TINY, "sample", TINY.defaults("sample"), seed=seed, runs=runs, report=say)


def figures(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.metrics.items() if name != "seconds"}


def interrupt_after(epoch: int) -> Callable[[str], None]:
    def say(line: str) -> None:
        if line.startswith(f"epoch {epoch}/"):
            raise KeyboardInterrupt

    return say


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of seed 3 that was never interrupted."""
    return begin(tmp_path_factory.mktemp("whole"))


def test_a_resumed_run_ends_like_an_uninterrupted_one(whole: Run, tmp_path: Path) -> None:
    for epoch in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            if epoch == 2:
                begin(tmp_path / "cut", report=interrupt_after(epoch))
            else:
                training.resume_training(TINY, tmp_path / "cut", report=interrupt_after(epoch))
        (unfinished,) = runs_.list_runs(tmp_path / "cut")
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
            begin(tmp_path / "cut")
    lines: list[str] = []
    resumed = training.resume_training(TINY, tmp_path / "cut", report=lines.append)
    assert lines == []
    assert figures(resumed) == figures(whole)


def test_the_seed_decides(whole: Run, tmp_path: Path) -> None:
    assert figures(begin(tmp_path, seed=3)) == figures(whole)
    assert figures(begin(tmp_path, seed=4)) != figures(whole)


def test_samples_are_shown_after_the_epochs_that_ask_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "write_samples", lambda run, verb, models, graphs, seed: f"from {list(models)}")
    lines: list[str] = []
    params = {**TINY.defaults("sample"), "samples_every": 2}
    training.start_training(TINY, "sample", params, seed=3, runs=tmp_path, report=lines.append)
    shown = [index for index, line in enumerate(lines) if line == "from ['serving_default']"]
    assert [lines[index - 1].split()[1] for index in shown] == ["2/5", "4/5", "5/5"]


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path, report=interrupt_after(1))
    (path,) = tmp_path.glob("tiny/*/checkpoint/epoch.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Failed, match=r"epoch\.npz cannot be continued from"):
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
    """A real signal in the middle of an epoch, and the words that say how to go on."""
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
    (run,) = runs_.list_runs(tmp_path / "runs")
    assert not run.finished
    run.write("params.json", {**run.read("params.json"), "epochs": 4})  # the rest need not be waited for
    lines: list[str] = []
    training.resume_training(catalogue.find_task("mnist_convnet"), tmp_path / "runs", report=lines.append)
    assert lines[-1].startswith("epoch 4/4")
    assert run.metrics["epochs"] == 4
    assert run.metrics["test_accuracy"] > 0.5

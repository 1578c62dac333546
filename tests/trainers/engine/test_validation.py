"""Hold-out and K-fold validation, early stopping, the best epoch and the learning rate on a plateau."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.run import Run
from tests.trainers.commands import figures
from tests.trainers.tiny_task import TINY, interrupt_after, start_tiny
from trainers import settings, training
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.engine.batches import EvaluationBatches, TrainingBatches
from trainers.task import Data, Params


def test_each_fold_is_evaluated_once_and_the_mean_is_recorded(tmp_path: Path) -> None:
    lines: list[str] = []
    run = start_tiny(tmp_path, lines.append, folds=4, rounds=2, fold_epochs=1)
    folds = json.loads((run.path / "folds.json").read_text())["folds"]
    losses = [fold["loss"] for fold in folds]
    assert len(losses) == 8
    assert len(set(losses)) == 8
    assert run.metrics["cv_loss"] == pytest.approx(np.mean(losses))
    assert run.metrics["cv_loss_deviation"] == pytest.approx(np.std(losses))
    assert lines[0] == "data: sums"
    assert lines[1].startswith("fold 1/4 of round 1/2  loss ")
    assert lines[8].startswith("fold 4/4 of round 2/2")


def test_an_interrupted_validation_goes_on_with_the_next_fold(tmp_path: Path) -> None:
    whole = start_tiny(tmp_path / "whole", folds=3, fold_epochs=1)

    def interrupt(line: str) -> None:
        if line.startswith("fold 2/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_tiny(tmp_path / "cut", interrupt, folds=3, fold_epochs=1)
    lines: list[str] = []
    resumed = training.resume_training(TINY, tmp_path / "cut", report=lines.append)
    assert [line.split()[1] for line in lines if line.startswith("fold")] == ["3/3"]
    assert figures(resumed) == figures(whole)


@pytest.mark.parametrize("folds", [1, 65])
def test_an_impossible_number_of_folds_is_an_error(tmp_path: Path, folds: int) -> None:
    with pytest.raises(InvalidInput, match="expected 2 to 64"):
        start_tiny(tmp_path, folds=folds)


def without_validation(kind: Kind, params: Params) -> Data:
    import dataclasses

    return dataclasses.replace(TINY.data(kind, params), validation=None)


def test_rows_are_held_out_by_the_seed(tmp_path: Path) -> None:
    import dataclasses

    task = dataclasses.replace(TINY, data=without_validation)
    params = {**TINY.defaults("sample"), "hold_out": 0.25}
    first, second = (
        training.start_training(task, "sample", params, seed=3, runs=tmp_path, report=lambda line: None)
        for _ in range(2)
    )
    assert figures(first) == figures(second)
    assert "val_loss" in first.metrics
    with pytest.raises(InvalidInput, match="has validation data already"):
        start_tiny(tmp_path, hold_out=0.25)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        training.start_training(task, "sample", {**params, "hold_out": 1.5}, seed=3, runs=tmp_path, report=print)


def test_training_stops_early_and_keeps_the_best_weights(tmp_path: Path) -> None:
    """With a learning rate that is far too high, epochs after the best one are worse; their weights are not kept."""
    settings_ = {"learning_rate": 1.0, "patience": 2, "keep_best": True, "epochs": 40}
    run = start_tiny(tmp_path / "whole", **settings_)
    best = run.metrics["best_epoch"]
    assert run.metrics["epochs"] == best + 2 < 40
    assert run.metrics["test_loss"] < run.metrics["val_loss"]  # the test rows are the validation rows here
    with pytest.raises(KeyboardInterrupt):
        start_tiny(tmp_path / "cut", interrupt_after(best + 1), **settings_)
    assert figures(training.resume_training(TINY, tmp_path / "cut", report=lambda line: None)) == figures(run)


def test_the_learning_rate_falls_on_a_plateau(tmp_path: Path) -> None:
    high = {"learning_rate": 1.0, "epochs": 12}
    lowered = start_tiny(tmp_path, plateau=1, plateau_factor=0.1, **high)
    assert lowered.metrics["val_loss"] < start_tiny(tmp_path, **high).metrics["val_loss"]


def test_monitor_must_be_a_figure_of_the_training(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'val_accuracy'.*It has: loss"):
        start_tiny(tmp_path, patience=1, monitor="val_accuracy")


def test_decisions_follow_from_the_history() -> None:
    assert settings.epochs_since_best([3.0, 1.0, 2.0, 2.0]) == 2
    assert settings.epochs_since_best([3.0, 1.0, 1.0]) == 1
    assert [settings.lowers_learning_rate([3, 1, 2, 2, 2, 2][:n], 2) for n in range(1, 7)] == [False] * 3 + [
        True,
        False,
        True,
    ]
    params = {"monitor": "val_accuracy"}
    assert settings.monitored_values(params, {"val_accuracy": [0.5, 0.7]}) == [-0.5, -0.7]


def test_steps_an_epoch_take_new_orders_of_the_rows_in_turn() -> None:
    batches = TrainingBatches(TrainingArrays(np.arange(5), np.arange(5)), 2, seed=1, steps=6)
    batches.on_epoch_begin()
    rows = np.concatenate([batches[index][0] for index in range(len(batches))])
    assert len(batches) == 6
    assert sorted(rows[:5]) == sorted(rows[5:10]) == list(range(5))
    assert list(rows[:5]) != list(rows[5:10])


class Shift:
    """Not of the union; enough for a test."""

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return rows + 100


def test_rows_are_augmented_in_training_only_and_alike_for_one_seed() -> None:
    def augment(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rows + rng.integers(1, 50, rows.shape)

    pairs = TrainingArrays({"x": LazilyEncoded(np.arange(10), [Shift()], augment)}, np.arange(10))  # type: ignore[list-item]
    drawn = []
    for _ in range(2):
        batches = TrainingBatches(pairs, 10, seed=1)
        batches.on_epoch_begin()
        x, y = batches[0]
        assert isinstance(x, dict)
        assert isinstance(y, np.ndarray)
        assert (x["x"] > y + 100).all()
        drawn.append(x["x"].tolist())
    assert drawn[0] == drawn[1]
    measured, _ = EvaluationBatches(pairs, 4)[2]
    assert isinstance(measured, dict)
    assert measured["x"].tolist() == [108, 109]
    taken = pairs.take(np.array([3, 4]))
    assert taken.batch(np.array([1]))[0]["x"].tolist() == [104]  # type: ignore[index,call-overload]


def test_the_vote_s_weights_sum_to_one_and_are_in_the_served_graph(finished: Callable[[str], Run]) -> None:
    from bookserve.bundle.examples import Examples

    run = finished("imdb_ensemble")
    shares = [value for name, value in run.metrics.items() if name.startswith("share_")]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(1)
    assert max(shares) > 0.3  # not the equal ones it began with
    assert set(Examples.load(run.path / "examples.npz").graphs["serving_default"].outputs) == {"probability"}

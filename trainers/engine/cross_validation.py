# ruff: noqa: TID253 - imported only inside functions of the command line
"""Cross-validate a task: K-fold validation in one or several rounds before the final training.

The figures of each fold are kept in ``folds.json`` of the run; an interrupted validation resumes with the next fold.
Source: sections 3.6.4 and 4.2.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from bookserve.errors import InvalidInput
from bookserve.run import Run
from trainers.engine.batches import TrainingBatches, evaluate
from trainers.engine.devices import SINGLE_DEVICE
from trainers.engine.loop import ReportLine
from trainers.task import Data, Params, Task


def cross_validate(
    task: Task, data: Data, params: Params, *, run: Run, seed: int, report: ReportLine
) -> dict[str, float]:
    """For each fold of each round, train a new model on all other folds and evaluate it on this fold.

    Returns the mean of each figure as ``cv_<figure>`` and its standard deviation as ``cv_<figure>_deviation``; nothing
    if ``params["folds"]`` is 0.

    Raises:
        InvalidInput: fewer than two folds, or more folds than rows.
    """
    folds, rounds = params["folds"], params["rounds"]
    if not folds:
        return {}
    if not 2 <= folds <= len(data.train):
        raise InvalidInput(f"folds is {folds}; expected 2 to {len(data.train)}, the number of training rows.")
    measured: list[dict[str, float]] = run.read("folds.json")["folds"] if (run.path / "folds.json").exists() else []
    for number in range(len(measured), folds * rounds):
        turn, fold = divmod(number, folds)
        parts = np.array_split(np.random.default_rng([seed, turn]).permutation(len(data.train)), folds)
        rest = np.concatenate([part for index, part in enumerate(parts) if index != fold])
        figures = _measure_fold(task, data, params, rest, parts[fold], seed + number)
        measured.append(figures)
        run.write("folds.json", {"folds": measured})
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        report(f"fold {fold + 1}/{folds}{f' of round {turn + 1}/{rounds}' if rounds > 1 else ''}  {shown}")
    summary: dict[str, float] = {}
    for name in measured[0]:
        values = [figures[name] for figures in measured]
        summary[f"cv_{name}"] = float(np.mean(values))
        summary[f"cv_{name}_deviation"] = float(np.std(values))
    return summary


def _measure_fold(task: Task, data: Data, params: Params, train: Any, test: Any, seed: int) -> dict[str, float]:
    keras.utils.set_random_seed(seed)
    epochs, batch_size = (
        params["fold_epochs"] or params["epochs"],
        params["fold_batch_size"] or params["batch_size"],
    )
    model = SINGLE_DEVICE.build_model(task, dataclasses.replace(data, train=data.train.take(train)), params)
    batches = TrainingBatches(data.train.take(train), batch_size, seed, steps=params["steps_per_epoch"])
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    return evaluate(model, data.train.take(test), batch_size)

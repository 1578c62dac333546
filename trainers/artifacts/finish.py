# ruff: noqa: TID253 - imported only inside functions of the command line
"""Write what is missing in a run whose training has ended, usually on another machine and without TensorFlow."""

from __future__ import annotations

import csv

import keras

from bookserve.errors import Failed
from bookserve.run import KERAS_MODEL, Run
from trainers import catalogue, settings
from trainers.artifacts.signatures import finish_signatures
from trainers.artifacts.write import write_artifacts
from trainers.engine.checkpoint import Progress
from trainers.engine.devices import SINGLE_DEVICE
from trainers.engine.loop import ReportLine


def finish_run(run: Run, report: ReportLine) -> None:
    """Write the SavedModel of ``run`` if it has none, and its figures if it has only the model and the history.

    Raises:
        Failed: the training has not ended, a file is damaged, or TensorFlow is not installed.
    """
    if run.finished and run.has_saved_model:
        report(f"{run.name}: nothing is missing")
        return
    if not run.finished:
        _measure(run, report)
    if not run.has_saved_model:
        finish_signatures(run)
    report(f"{run.name}: finished → {run.path}")


def _measure(run: Run, report: ReportLine) -> None:
    """Write all files of a run that has no more than its parameters, its history and ``model.keras``.

    Earlier versions left such runs where TensorFlow is not installed. The seconds of their epochs are unknown: 0.
    """
    if not (run.path / KERAS_MODEL).is_file() or (run.path / "checkpoint").exists():
        raise Failed(f"the training of {run.name} has not ended.", f"Continue it: bookserve train {run.task} --resume")
    task, params = catalogue.find_task(run.task), settings.settings_of(run)
    with (run.path / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    history = {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {}) if name != "epoch"}
    model = keras.saving.load_model(run.path / KERAS_MODEL, custom_objects=task.custom and task.custom())
    progress = Progress(epochs=len(rows), history=history)
    write_artifacts(task, run, model, task.data(params["data"], params), progress, {}, SINGLE_DEVICE, report)

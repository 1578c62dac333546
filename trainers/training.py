# ruff: noqa: TID253 - imported only inside functions of the command line
"""Training: a task, its parameters and a seed become a finished Run; an interrupted one is taken up again."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve import run as runs_
from bookserve.errors import InvalidInput
from bookserve.run import Run
from trainers import settings
from trainers.artifacts import samples
from trainers.artifacts.signatures import describe_graph, inference_models
from trainers.artifacts.write import write_artifacts
from trainers.datasets.dataset import Kind
from trainers.engine import cross_validation as folds
from trainers.engine.devices import SINGLE_DEVICE, Devices
from trainers.engine.loop import ReportLine, fit
from trainers.task import Data, Task


def start_training(
    task: Task,
    kind: Kind,
    params: dict[str, Any],
    *,
    seed: int,
    runs: Path,
    say: ReportLine,
    bar: bool = False,
    devices: Devices = SINGLE_DEVICE,
) -> Run:
    """Train ``task`` from the start and return its finished run.

    Where ``devices`` belong to a worker that is not the chief, the run is left unfinished; let ``runs`` be a directory
    of its own.
    """
    _check_backend(task)
    data = task.data(kind, params)
    run = runs_.create_run(runs, task.name)
    run.write("params.json", {"data": kind, "seed": seed, **params})
    try:
        _train(task, data, run, say, bar, devices)
    except InvalidInput:
        if not (run.path / "checkpoint").exists():
            shutil.rmtree(run.path)  # there is nothing to go on with
        raise
    return run


def resume_training(
    task: Task, runs: Path, *, say: ReportLine, bar: bool = False, devices: Devices = SINGLE_DEVICE
) -> Run:
    """Continue the newest unfinished run of ``task`` with the parameters it was begun with.

    Raises:
        NotFound: no run of this task is unfinished.
    """
    run = runs_.latest_run(runs, task.name, finished=False)
    _check_backend(task)
    params = settings.settings_of(run)
    _train(task, task.data(params["data"], params), run, say, bar, devices)
    return run


def _check_backend(task: Task) -> None:
    backend = keras.backend.backend()
    if task.verb == "transform" and backend != "tensorflow":
        raise InvalidInput(
            f"'{task.name}' holds graphs of gradients, which are TensorFlow's; KERAS_BACKEND is '{backend}'.",
            "Train it with KERAS_BACKEND=tensorflow.",
        )


def _train(task: Task, data: Data, run: Run, say: ReportLine, bar: bool, devices: Devices) -> None:
    params = settings.settings_of(run)
    seed = params["seed"]
    data = _hold_out(data, params["hold_out"], seed)
    validated = folds.cross_validate(task, data, params, run=run, seed=seed, say=say)
    keras.utils.set_random_seed(seed)  # Keras's own way to make initial weights and dropout repeat
    model = devices.build(task, data, params)
    every = params["samples_every"]

    def after_epoch(epoch: int) -> None:
        if every and epoch % every == 0 and epoch < params["epochs"]:
            models = inference_models(task, devices.finished(model, task, data, params), data)
            graphs = {name: describe_graph(inference) for name, inference in models.items()}
            say(samples.write_samples(run, data, models, graphs, seed))

    progress = fit(model, data, params, run=run, seed=seed, say=say, bar=bar, devices=devices, after_epoch=after_epoch)
    if devices.chief:
        write_artifacts(task, run, devices.finished(model, task, data, params), data, progress, validated, devices, say)
    devices.part()


def _hold_out(data: Data, share: float, seed: int) -> Data:
    """``data`` with a share of its training rows, drawn by the seed, to validate on (section 4.2.1).

    Raises:
        InvalidInput: the task holds rows out itself, or the share leaves nothing on one side.
    """
    if not share:
        return data
    count = round(share * len(data.train))
    if data.validation or not 0 < count < len(data.train):
        why = "the task holds rows out itself" if data.validation else "expected a share between 0 and 1"
        raise InvalidInput(f"hold_out is {share}; {why}.", "Leave it out, or give hold_out=0.2 to another task.")
    order = np.random.default_rng([seed, count]).permutation(len(data.train))
    return dataclasses.replace(data, train=data.train.take(order[count:]), validation=data.train.take(order[:count]))

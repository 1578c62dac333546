# ruff: noqa: TID253 - imported only inside functions of the command line
"""Train a task with given parameters and a seed, and leave a finished Run; or resume an interrupted one."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve.errors import InvalidInput, NotFound
from bookserve.run import KERAS_MODEL, Run, create_run, find_run, latest_run, list_runs
from trainers import settings
from trainers.artifacts import samples
from trainers.artifacts.signatures import describe_graph, inference_models
from trainers.artifacts.write import write_artifacts
from trainers.datasets.dataset import Kind
from trainers.engine.cross_validation import cross_validate
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
    report: ReportLine,
    progress_bar: bool = False,
    devices: Devices = SINGLE_DEVICE,
) -> Run:
    """Train ``task`` from the start and return its finished run, a new directory under ``runs``.

    A worker that is not the chief leaves its run unfinished; give it a temporary directory as ``runs``.

    Raises:
        NotFound: the parameter ``start`` names no run.
    """
    _check_backend(task)
    if task.starts_from:
        params = {**params, "start": _pin_start(task, runs, params["start"], report)}
    data = task.data(kind, params)
    report(f"data: {data.about}")
    run = create_run(runs, task.name)
    run.write("params.json", {"data": kind, "seed": seed, **params})
    try:
        _train(task, data, run, report, progress_bar, devices)
    except InvalidInput:
        if not (run.path / "checkpoint").exists():
            shutil.rmtree(run.path)  # there is nothing to resume
        raise
    return run


def resume_training(
    task: Task, runs: Path, *, report: ReportLine, progress_bar: bool = False, devices: Devices = SINGLE_DEVICE
) -> Run:
    """Continue the newest unfinished run of ``task`` with the parameters that it was started with.

    Raises:
        NotFound: this task has no unfinished run.
    """
    run = latest_run(runs, task.name, finished=False)
    _check_backend(task)
    params = settings.settings_of(run)
    _train(task, task.data(params["data"], params), run, report, progress_bar, devices)
    return run


def _check_backend(task: Task) -> None:
    backend = keras.backend.backend()
    if task.verb == "transform" and backend != "tensorflow":
        command = "style" if task.name == "style_transfer" else "dream"
        raise InvalidInput(
            f"'{task.name}' has gradient graphs, which need TensorFlow; KERAS_BACKEND is '{backend}'.",
            f"Nothing is trained in it. Where TensorFlow is: bookserve train {task.name}, then export it; the model "
            f"needs no TensorFlow, also on a GPU: bookserve {command} … --device cuda",
        )


def _pin_start(task: Task, runs: Path, start: str, report: ReportLine) -> str:
    """The parameter ``start`` with the newest run named, if it names a task; ``report`` says where training starts."""
    if start:
        path = _find_start(runs, start)
        report(f"starts from {path}")
        pinned = Run(path.parent)
        return pinned.name if pinned.path.parent.parent == runs.resolve() else start
    newest = [run.name for run in list_runs(runs, task.starts_from) if run.finished][-1:]
    known = f"-p start={newest[0]}" if newest else f"train {task.starts_from}, then give -p start={task.starts_from}"
    report(f"starts with random weights; the book starts from a run of {task.starts_from}: {known}")
    return ""


def _find_start(runs: Path, start: str) -> Path:
    """The Keras file that the parameter ``start`` names: a file, a run, or a task's newest finished run."""
    if Path(start).suffix == ".keras" and Path(start).is_file():
        return Path(start)
    path = find_run(runs, start).path / KERAS_MODEL
    if not path.is_file():
        raise NotFound(f"the run '{start}' has no {KERAS_MODEL}.", "Give a finished run.")
    return path.resolve()


def _train(task: Task, data: Data, run: Run, report: ReportLine, progress_bar: bool, devices: Devices) -> None:
    params = settings.settings_of(run)
    if task.starts_from and params["start"]:
        params["start"] = str(_find_start(run.path.parent.parent, params["start"]))
    seed = params["seed"]
    data = _hold_out(data, params["hold_out"], seed)
    validated = cross_validate(task, data, params, run=run, seed=seed, report=report)
    keras.utils.set_random_seed(seed)  # makes initial weights and dropout repeatable
    model = devices.build_model(task, data, params)
    every = params["samples_every"]

    def after_epoch(epoch: int) -> None:
        if every and epoch % every == 0 and epoch < params["epochs"]:
            models = inference_models(task, devices.to_plain_model(model, task, data, params), data)
            graphs = {name: describe_graph(inference) for name, inference in models.items()}
            report(samples.write_samples(run, data, models, graphs, seed))

    progress = fit(
        model,
        data,
        params,
        run=run,
        seed=seed,
        report=report,
        progress_bar=progress_bar,
        devices=devices,
        after_epoch=after_epoch,
    )
    if devices.chief:
        write_artifacts(
            task, run, devices.to_plain_model(model, task, data, params), data, progress, validated, devices, report
        )
    devices.wait_for_workers()


def _hold_out(data: Data, share: float, seed: int) -> Data:
    """``data`` with a random share of its training rows as validation rows (section 4.2.1); the seed decides which.

    Raises:
        InvalidInput: the task has validation rows already, or one side would be empty.
    """
    if not share:
        return data
    count = round(share * len(data.train))
    if data.validation or not 0 < count < len(data.train):
        why = "the task has validation data already" if data.validation else "expected a share between 0 and 1"
        raise InvalidInput(f"hold_out is {share}: {why}.", "Leave it out, or give a share such as hold_out=0.2.")
    order = np.random.default_rng([seed, count]).permutation(len(data.train))
    return dataclasses.replace(data, train=data.train.take(order[count:]), validation=data.train.take(order[:count]))

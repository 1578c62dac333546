# ruff: noqa: TID253 - imported only inside functions of the command line
"""Finish: what a training leaves when its last epoch is done, file by file as ``bookserve/run.py`` lists them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve import vocabulary
from bookserve.examples import Example, Examples
from bookserve.run import Origin, Recipe, Run
from trainers import batches, checkpoint, curves, projector, samples, settings, signatures
from trainers.checkpoint import Progress
from trainers.devices import Devices
from trainers.loop import Say
from trainers.signatures import Models, graph_of, inference_models
from trainers.task import Data, Task


def finish(
    task: Task,
    run: Run,
    model: keras.Model,
    data: Data,
    progress: Progress,
    validated: Mapping[str, float],
    devices: Devices,
    say: Say,
) -> None:
    """Measure the trained model and write all files of ``run``; ``metrics.json`` is last and makes it finished.

    ``validated`` are the figures of K-fold validation, ``devices`` what the model was trained on.
    """
    params = settings.of(run)
    concluded = task.conclude(model, data, params) if task.conclude else {}
    models = inference_models(task, model, data)
    graphs = {name: graph_of(inference) for name, inference in models.items()}
    shown = samples.write(run, data, models, graphs, params["seed"])
    if shown:
        say(shown)
    measured = batches.evaluate(model, data.test, params["batch_size"]) if data.test else {}
    tested = {f"test_{name}": value for name, value in measured.items()}
    figures = {**_figures(task, progress), **tested, **validated, **concluded}
    curves.write_csv(run.path, progress.history)
    curves.write_picture(run.path, progress.history)
    model.save(run.path / "model.keras")
    signatures.write(run, models)
    if params["histograms"]:
        projector.write(run.path / "tensorboard", model, data.verb)
    _examples(models, data).save(run.path / "examples.npz")
    origin = Origin(
        task=task.name,
        section=task.section,
        summary=task.summary,
        data=params["data"],
        dataset=data.about,
        book=task.book,
        metric=task.metric,
    )
    vocabulary.save(Recipe(origin=origin, verb=data.verb, graphs=graphs), run.path / "task.json")
    run.write("environment.json", _environment(task, params, progress.seconds, devices))
    counts = {
        "epochs": progress.epochs,
        "seconds": round(progress.seconds, 1),
        "parameters": model.count_params(),
    }
    run.write("metrics.json", {**figures, **counts, "baseline": data.baseline, "book": task.book})
    checkpoint.remove(run)


def _examples(models: Models, data: Data) -> Examples:
    graphs = {}
    for name, model in models.items():
        outputs = model(data.feeds[name], training=False)
        graphs[name] = Example(
            data.feeds[name], {key: keras.ops.convert_to_numpy(value) for key, value in outputs.items()}
        )
    return Examples(graphs, data.rows)


def _figures(task: Task, progress: Progress) -> dict[str, float]:
    """The last epoch's figures, and the best epoch's of those that the task or the book is judged by."""
    figures = {name: values[-1] for name, values in progress.history.items()}
    for name in {task.metric, *task.book}:
        measured = progress.history.get(name.removeprefix("best_"))
        if name.startswith("best_") and measured:
            figures[name] = max(measured) if settings.higher_is_better(name) else min(measured)
    if "val_loss" in progress.history:  # where overfitting begins (section 4.4)
        figures["best_epoch"] = 1 + int(np.argmin(progress.history["val_loss"]))
    return figures


def _environment(task: Task, params: dict[str, Any], seconds: float, devices: Devices) -> dict[str, Any]:
    packages = ("bookserve", "keras", "tensorflow", "numpy", *(("jax",) if keras.backend.backend() == "jax" else ()))
    return {
        "command": shlex.join(task.command(params)),
        "seed": params["seed"],
        "seconds": round(seconds, 1),
        **devices.describe(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

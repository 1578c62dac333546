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

from bookserve.bundle.examples import Example, Examples
from bookserve.generation.explain import ACTIVATIONS, FILTERS
from bookserve.graph import Arrays
from bookserve.images import encode_png
from bookserve.run import Origin, Recipe, Run
from bookserve.steps import vocabulary
from trainers.engine import batches, checkpoint, curves, projector, samples, settings, signatures
from trainers.engine.checkpoint import Progress
from trainers.engine.devices import Devices
from trainers.engine.loop import Say
from trainers.engine.signatures import Models, graph_of, inference_models
from trainers.inspect import filters
from trainers.inspect.layers import names
from trainers.inspect.source import Source
from trainers.task import Data, Task


def write_artifacts(
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
    params = settings.settings_of(run)
    concluded = task.conclude(model, data, params) if task.conclude else {}
    models = inference_models(task, model, data)
    graphs = {name: graph_of(inference) for name, inference in models.items()}
    shown = samples.write_samples(run, data, models, graphs, params["seed"])
    if shown:
        say(shown)
    measured = batches.evaluate(model, data.test, params["batch_size"]) if data.test else {}
    tested = {f"test_{name}": value for name, value in measured.items()}
    figures = {**_figures(task, progress), **tested, **validated, **concluded}
    origin = Origin(
        task=task.name,
        section=task.section,
        summary=task.summary,
        data=params["data"],
        dataset=data.about,
        book=task.book,
        metric=task.metric,
    )
    curves.write_csv(run.path, progress.history)
    curves.write_picture(run.path, progress.history)
    model.save(run.path / "model.keras")
    signatures.write_signatures(run, models)
    if params.get("filters"):
        _draw_filters(run, Source(run.name, origin, data.verb, dict(models), data.rows), params)
    if params["histograms"]:
        projector.write_projector(run.path / "tensorboard", model, data.verb)
    examples(models, data).save(run.path / "examples.npz")
    vocabulary.save_vocabularies(Recipe(origin=origin, verb=data.verb, graphs=graphs), run.path / "task.json")
    run.write("environment.json", _environment(task, params, progress.seconds, devices))
    counts = {
        "epochs": progress.epochs,
        "seconds": round(progress.seconds, 1),
        "parameters": model.count_params(),
    }
    run.write("metrics.json", {**figures, **counts, "baseline": data.baseline, "book": task.book})
    checkpoint.remove(run)


def examples(models: Models, data: Data) -> Examples:
    """For each inference model a few inputs, and what Keras gives for them."""
    graphs: dict[str, Example] = {}
    # Those that are fed by others come after them.
    for name in sorted(models, key=lambda name: not models[name].input.keys() <= data.feeds.get(name, {}).keys()):
        feeds = _feeds(name, models[name], data, graphs)
        outputs = models[name](feeds, training=False)
        graphs[name] = Example(feeds, {key: keras.ops.convert_to_numpy(value) for key, value in outputs.items()})
    return Examples({name: graphs[name] for name in models}, data.rows)


def _draw_filters(run: Run, source: Source, params: Mapping[str, Any]) -> None:
    """A picture for each convolution in ``filters/``, which the exporter takes along: a server cannot draw them."""
    (run.path / FILTERS).mkdir(exist_ok=True)
    for number, layer in enumerate(names(source.model, maps=True), 1):
        rng = np.random.default_rng(params["seed"])
        patterns = filters.filters(source.model, layer, source.affine(), rng=rng, steps=params["filters"])
        path = run.path / FILTERS / f"{number:02}_{layer.replace('/', '_')}.png"
        path.write_bytes(encode_png(filters.sheet(patterns.pixels)))


def _feeds(name: str, model: keras.Model, data: Data, graphs: Mapping[str, Example]) -> Arrays:
    """What the task gives; for the rest, what the graphs before it gave under the same names."""
    if name == ACTIVATIONS:  # one row, since the maps of several would be large files
        (feeds,) = data.feeds.values()
        return {key: array[:1] for key, array in feeds.items()}
    known = {key: array for example in graphs.values() for key, array in example.outputs.items()}
    known |= data.feeds.get(name, {})
    return {key: known[key] for key in model.input}


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

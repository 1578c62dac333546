# ruff: noqa: TID253 - imported only inside functions of the command line
"""Write all files of a finished run after the last epoch; ``bookserve/run.py`` lists them.

The SavedModel comes after all others, so that nothing is lost where TensorFlow is missing or fails.
"""

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

from bookserve import __version__
from bookserve.bundle.examples import Example, Examples
from bookserve.generation.explain import ACTIVATIONS, FILTERS
from bookserve.graph import Arrays
from bookserve.images import encode_png
from bookserve.run import FROZEN_BASE, KERAS_MODEL, Origin, Recipe, Run
from bookserve.steps import vocabulary
from trainers import settings
from trainers.artifacts import projector, samples, signatures
from trainers.artifacts.signatures import InferenceModels, describe_graph, inference_models
from trainers.datasets.fingerprint import fingerprint
from trainers.engine import batches, checkpoint, curves
from trainers.engine.checkpoint import Progress
from trainers.engine.devices import Devices, full_precision
from trainers.engine.loop import ReportLine
from trainers.engine.shuffled import shuffled_figures
from trainers.inspect import filters
from trainers.inspect.layers import layer_names
from trainers.inspect.trained_model import TrainedModel
from trainers.task import Data, Task


def write_artifacts(
    task: Task,
    run: Run,
    model: keras.Model,
    data: Data,
    progress: Progress,
    validated: Mapping[str, float],
    devices: Devices,
    report: ReportLine,
) -> None:
    """Evaluate the trained model and write all files of ``run``: first those that every Keras backend can write.

    ``metrics.json`` comes after these and marks the run finished; the SavedModel follows.
    ``validated`` are the figures of K-fold validation; ``devices`` are those that the model was trained on.
    """
    params = settings.settings_of(run)
    concluded = task.conclude(model, data, params) if task.conclude else {}
    models = inference_models(task, model, data)
    graphs = {name: describe_graph(inference) for name, inference in models.items()}
    shown = samples.write_samples(run, data, models, graphs, params["seed"])
    if shown:
        report(shown)
    measured = batches.evaluate(model, data.test, params["batch_size"]) if data.test else {}
    tested = {f"test_{name}": value for name, value in measured.items()}
    if task.dataset == "generated" and data.test:  # the book has no figure to stand beside
        tested |= shuffled_figures(model, data.test, task.metric, params["batch_size"])
    figures = {**_figures_of_epochs(task, progress), **tested, **validated, **concluded}
    origin = Origin(
        task=task.name,
        section=task.section,
        summary=task.summary,
        data=params["data"],
        dataset=data.about,
        book=task.book,
        metric=task.metric,
    )
    curves.write_history_csv(run.path, progress.history)
    curves.write_history_plot(run.path, progress.history)
    model.save(run.path / KERAS_MODEL)
    if data.frozen_base:
        data.frozen_base.save(run.path / FROZEN_BASE)
    if params.get("filters"):
        _draw_filters(run, TrainedModel(run.name, origin, data.verb, dict(models), data.example_rows), params)
    if params["histograms"]:
        projector.write_projector(run.path / "tensorboard", model, data.verb)
    compute_examples(models, data).save(run.path / "examples.npz")
    vocabulary.save_vocabularies(Recipe(origin=origin, verb=data.verb, graphs=graphs), run.path / "task.json")
    used = {
        "dataset": data.about,
        "data_sha256": fingerprint({"train": data.train, "validation": data.validation, "test": data.test}),
    }
    run.write("environment.json", {**_environment(task, params, progress.seconds, devices), **used})
    counts = {
        "epochs": progress.epochs,
        "seconds": round(progress.seconds, 1),
        "parameters": model.count_params(),
    }
    run.write("metrics.json", {**figures, **counts, "baseline": data.baseline, "book": task.book})
    checkpoint.remove_checkpoint(run)
    signatures.write_signatures(run, models, report)


def compute_examples(models: InferenceModels, data: Data) -> Examples:
    """A few inputs for each inference model, with the outputs that Keras computes for them."""
    graphs: dict[str, Example] = {}
    # Models whose inputs are outputs of other models come after those.
    for name in sorted(
        models, key=lambda name: not models[name].input.keys() <= data.example_feeds.get(name, {}).keys()
    ):
        feeds = _example_feeds(name, models[name], data, graphs)
        with full_precision():
            outputs = models[name](feeds, training=False)
        graphs[name] = Example(feeds, {key: keras.ops.convert_to_numpy(value) for key, value in outputs.items()})
    return Examples({name: graphs[name] for name in models}, data.example_rows)


def _draw_filters(run: Run, trained: TrainedModel, params: Mapping[str, Any]) -> None:
    """Draw the filters of each convolution into ``filters/``; the exporter copies them, as servers cannot draw them."""
    (run.path / FILTERS).mkdir(exist_ok=True)
    for number, layer in enumerate(layer_names(trained.model, maps=True), 1):
        rng = np.random.default_rng(params["seed"])
        patterns = filters.filter_patterns(
            trained.model, layer, trained.pixel_transform(), rng=rng, steps=params["filters"]
        )
        path = run.path / FILTERS / f"{number:02}_{layer.replace('/', '_')}.png"
        path.write_bytes(encode_png(filters.pattern_sheet(patterns.pixels)))


def _example_feeds(name: str, model: keras.Model, data: Data, graphs: Mapping[str, Example]) -> Arrays:
    """The example inputs from the task; other inputs are outputs with the same name of the graphs before this one."""
    if name == ACTIVATIONS:  # only one row: the feature maps of several would be large
        (feeds,) = data.example_feeds.values()
        return {key: array[:1] for key, array in feeds.items()}
    known = {key: array for example in graphs.values() for key, array in example.outputs.items()}
    known |= data.example_feeds.get(name, {})
    return {key: known[key] for key in model.input}


def _figures_of_epochs(task: Task, progress: Progress) -> dict[str, float]:
    """The figures of the last epoch, and ``best_…`` figures over all epochs where the task or the book uses them."""
    figures = {name: values[-1] for name, values in progress.history.items()}
    for name in {task.metric, *task.book}:
        measured = progress.history.get(name.removeprefix("best_"))
        if name.startswith("best_") and measured:
            figures[name] = max(measured) if settings.higher_is_better(name) else min(measured)
    if "val_loss" in progress.history:  # after this epoch, overfitting begins (section 4.4)
        figures["best_epoch"] = 1 + int(np.argmin(progress.history["val_loss"]))
    return figures


def _environment(task: Task, params: dict[str, Any], seconds: float, devices: Devices) -> dict[str, Any]:
    packages = ("keras", "tensorflow", "numpy", *(("jax",) if keras.backend.backend() == "jax" else ()))
    return {
        "command": shlex.join(task.command(params)),
        "seed": params["seed"],
        "seconds": round(seconds, 1),
        **devices.describe(),
        "platform": platform.platform(),
        "cpu": _processor_name(),
        "cpus": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "bookserve": __version__,
            **{name: version for name in packages if (version := _installed_version(name))},
        },
    }


def _installed_version(package: str) -> str:
    """The version of an installed package, or '': TensorFlow is not needed to train with JAX."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor_name() -> str:
    """The processor's name, or its architecture if the system does not give the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Finish: what a training leaves when its last epoch is done, file by file as ``bookserve/run.py`` lists them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve import vocabulary
from bookserve.examples import Example, Examples
from bookserve.graph import Graph, TensorSpec
from bookserve.run import Origin, Recipe, Run
from bookserve.verb import Predict
from trainers import batches, checkpoint, curves, projector, samples, settings
from trainers.checkpoint import Progress
from trainers.loop import Say
from trainers.task import Data, Task

Models = Mapping[str, keras.Model]


def finish(
    task: Task,
    run: Run,
    model: keras.Model,
    data: Data,
    progress: Progress,
    validated: Mapping[str, float],
    say: Say,
) -> None:
    """Measure the trained model and write all files of ``run``; ``metrics.json`` is last and makes it finished.

    ``validated`` are the figures of K-fold validation.
    """
    params = run.read("params.json")
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
    write_saved_model(run.path / "saved_model", models)
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
    run.write("environment.json", _environment(task, params, progress.seconds))
    counts = {
        "epochs": progress.epochs,
        "seconds": round(progress.seconds, 1),
        "parameters": model.count_params(),
    }
    run.write("metrics.json", {**figures, **counts, "baseline": data.baseline, "book": task.book})
    checkpoint.remove(run)


def inference_models(task: Task, model: keras.Model, data: Data) -> dict[str, keras.Model]:
    """The models to serve, by graph name, their inputs and outputs named; they share the trained layers."""
    if task.graphs:
        return task.graphs(model)
    if not isinstance(data.verb, Predict):
        raise TypeError(f"the task {task.name} needs a function graphs")
    if data.front:
        first, last = data.front.input, model(data.front.output)
    elif isinstance(model, keras.Sequential):
        first, last = model.inputs, model.outputs
    else:
        first, last = model.input, model.output
    inputs, outputs = _named(first, data.verb.inputs), _named(last, data.verb.outputs)
    return {data.verb.graph: keras.Model(inputs, outputs, name=task.name)}


def _named(tensors: Any, names: Iterable[str]) -> dict[str, Any]:
    """Tensors by name, where a model does not name them itself."""
    if isinstance(tensors, dict):
        return {name: tensors[name] for name in names}
    return dict(zip(names, keras.tree.flatten(tensors), strict=True))


def graph_of(model: keras.Model) -> Graph:
    """Names, element types and shapes of an inference model.

    Its free axes are called ``batch`` and ``time``, those of pictures ``height`` and ``width``.
    """

    def spec(tensor: Any) -> TensorSpec:
        axes = (
            ("batch", "height", "width", "channels")
            if len(tensor.shape) == 4
            else ("batch", *("time" for _ in tensor.shape[1:]))
        )
        shape = tuple(axis if size is None else size for axis, size in zip(axes, tensor.shape, strict=True))
        return TensorSpec(tensor.dtype, shape)

    return Graph(
        inputs={name: spec(tensor) for name, tensor in model.input.items()},
        outputs={name: spec(tensor) for name, tensor in model.output.items()},
    )


def write_saved_model(path: Path, models: Models) -> None:
    """Write one signature for each model, and ``serving_default`` for the first where none bears that name."""
    for model in models.values():
        for layer in model._flatten_layers():
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = False  # a GPU's fused kernel could not be served on a CPU
    archive = keras.export.ExportArchive()
    endpoints = dict(models)
    endpoints.setdefault("serving_default", next(iter(models.values())))
    if keras.backend.backend() != "tensorflow":
        for model in models.values():
            archive.track(model)  # an endpoint's own TensorFlow variables are kept anyhow: once more would be twice
    for name, model in endpoints.items():
        signature = [
            keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=key) for key, tensor in model.input.items()
        ]
        archive.add_endpoint(name, _positional(model), signature)
    archive.write_out(path, verbose=False)


def _positional(model: keras.Model) -> Callable[..., Any]:
    """The model as a function of one argument for each input: a signature takes its names from those of its specs."""
    return lambda *tensors: model(dict(zip(model.input, tensors, strict=True)), training=False)


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


def _environment(task: Task, params: dict[str, Any], seconds: float) -> dict[str, Any]:
    packages = ("bookserve", "keras", "tensorflow", "numpy")
    return {
        "command": command(task, params),
        "seed": params["seed"],
        "seconds": round(seconds, 1),
        "backend": keras.backend.backend(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def command(task: Task, params: Mapping[str, Any]) -> str:
    """The command line that trains the same again."""
    usual = task.defaults(params["data"])
    words = ["bookserve", "train", task.name, "--data", params["data"], "--seed", str(params["seed"])]
    for name, value in usual.items():
        if params[name] != value:
            words += ["-p", f"{name}={params[name]}"]
    return shlex.join(words)


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

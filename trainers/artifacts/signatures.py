# ruff: noqa: TID253 - imported only inside functions of the command line
"""Describe the inference graphs of a trained model and write them into its SavedModel, one signature a graph.

``python -m trainers.artifacts.signatures RUN`` writes ``saved_model/`` from the Keras files of the run. A training on
Keras's JAX backend runs this in a process of its own, or where TensorFlow is not installed leaves it to
``bookserve finish`` on another machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve.bundle.examples import Example, Examples
from bookserve.cli.programs import python_command
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from bookserve.run import FROZEN_BASE, KERAS_MODEL, SAVED_MODEL, Run
from bookserve.verb import Predict, Verb
from trainers import catalogue
from trainers.artifacts.layer_graphs import explain_graphs
from trainers.engine.devices import full_precision
from trainers.engine.loop import ReportLine
from trainers.task import Data, Task

InferenceModels = Mapping[str, keras.Model]
#: How far outputs of one model may differ between two machines, as a part of the largest output.
MAX_ROUNDING = 0.05


def inference_models(task: Task, model: keras.Model, data: Data) -> dict[str, keras.Model]:
    """The models to serve, by graph name, with named inputs and outputs; they share the trained layers.

    A convnet also gets the two graphs that Grad-CAM needs (``trainers/artifacts/layer_graphs.py``).
    """
    return _build_models(task, model, data.verb, data.frozen_base)


def _build_models(
    task: Task, model: keras.Model, verb: Verb, frozen_base: keras.Model | None
) -> dict[str, keras.Model]:
    if task.graphs:
        return task.graphs(model)
    if not isinstance(verb, Predict):
        raise TypeError(f"the task {task.name} needs a function graphs")
    if frozen_base:
        first, last = frozen_base.input, model(frozen_base.output)
    elif isinstance(model, keras.Sequential):
        first, last = model.inputs, model.outputs
    else:
        first, last = model.input, model.output
    inputs, outputs = _tensors_by_name(first, verb.inputs), _tensors_by_name(last, verb.outputs)
    whole = keras.Model(inputs, outputs, name=task.name)
    return {verb.graph: whole, **explain_graphs(whole, verb)}


def _tensors_by_name(tensors: Any, names: Iterable[str]) -> dict[str, Any]:
    """The tensors by name; ``names`` are given in order if the model does not name its tensors."""
    if isinstance(tensors, dict):
        return {name: tensors[name] for name in names}
    return dict(zip(names, keras.tree.flatten(tensors), strict=True))


def describe_graph(model: keras.Model) -> Graph:
    """The names, element types and shapes of an inference model's inputs and outputs.

    Free axes are called ``batch`` and ``time``; in models of pictures ``height`` and ``width``, and ``numbers`` where a
    length depends on those.
    """
    pictures = any(len(tensor.shape) == 4 for tensor in model.input.values())

    def spec(tensor: Any) -> TensorSpec:
        axes = (
            ("batch", "height", "width", "channels")
            if len(tensor.shape) == 4
            else ("batch", *("numbers" if pictures else "time" for _ in tensor.shape[1:]))
        )
        shape = tuple(axis if size is None else size for axis, size in zip(axes, tensor.shape, strict=True))
        return TensorSpec(tensor.dtype, shape)

    return Graph(
        inputs={name: spec(tensor) for name, tensor in model.input.items()},
        outputs={name: spec(tensor) for name, tensor in model.output.items()},
    )


def write_signatures(run: Run, models: InferenceModels, report: ReportLine) -> None:
    """Write ``saved_model/`` of a run whose other files are written.

    A SavedModel written by another backend than TensorFlow is one opaque operation, which no converter can read. In
    that case another process loads the Keras files with TensorFlow and writes the SavedModel. Where TensorFlow is not
    installed, ``report`` gets a line that says how to write it on another machine.

    Raises:
        Failed: that process failed.
    """
    if keras.backend.backend() == "tensorflow":
        write_saved_model(run.path / SAVED_MODEL, models)
    elif importlib.util.find_spec("tensorflow"):
        _write_in_another_process(run)
    else:
        report(
            "TensorFlow is not installed here, so the run has no SavedModel yet, which export needs. Copy the run to "
            f"a machine with TensorFlow, into its directory of runs, and finish it there: bookserve finish {run.name}"
        )


def finish_signatures(run: Run) -> None:
    """Write ``saved_model/`` of a run from its Keras files; no data set is needed.

    Raises:
        Failed: a file is damaged, or TensorFlow is not installed.
    """
    if keras.backend.backend() != "tensorflow":
        if not importlib.util.find_spec("tensorflow"):
            raise Failed(
                f"the SavedModel of {run.name} needs TensorFlow, which is not installed here.",
                "Install it with: pip install 'bookserve[train]'",
            )
        _write_in_another_process(run)
        return
    task, recipe = catalogue.find_task(run.task), run.recipe
    model, base = (_load_keras_file(run.path / name, task) for name in (KERAS_MODEL, FROZEN_BASE))
    if model is None:
        raise Failed(f"{run.path} has no {KERAS_MODEL}.", "Copy the whole run, or train again.")
    models = _build_models(task, model, recipe.verb, base)
    _answer_examples(run, models)
    write_saved_model(run.path / SAVED_MODEL, models)


def _answer_examples(run: Run, models: InferenceModels) -> None:
    """Write the example outputs again, as this machine computes them.

    The other machine may have had a GPU that rounds the factors of matrix products to 10 bits (TF32): its outputs
    would not pass as those of the SavedModel.

    Raises:
        Failed: they differ by far more than rounding.
    """
    path = run.path / "examples.npz"
    if not path.is_file():
        return
    examples = Examples.load(path)
    graphs = {}
    for name, example in examples.graphs.items():
        with full_precision():
            outputs = models[name](example.inputs, training=False)
        answers = {key: keras.ops.convert_to_numpy(value) for key, value in outputs.items()}
        for key, expected in example.outputs.items():
            if np.abs(answers[key] - expected).max(initial=0) > MAX_ROUNDING * np.abs(expected).max(initial=0):
                raise Failed(
                    f"{run.name}: its {KERAS_MODEL} does not give the outputs that {path.name} has for '{name}'.",
                    "The two are of different trainings: copy the run again.",
                )
        graphs[name] = Example(example.inputs, answers)
    Examples(graphs, examples.rows).save(path)


def _load_keras_file(path: Path, task: Task) -> keras.Model | None:
    """The model in a run's Keras file, or None if there is no such file."""
    if not path.is_file():
        return None
    try:
        return keras.saving.load_model(path, custom_objects=task.custom and task.custom())
    except Exception as error:  # Keras raises many types of errors for damaged files
        raise Failed(f"{path} cannot be loaded: {error}.", "It may be damaged: copy the run again.") from error


def _write_in_another_process(run: Run) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    command = python_command("trainers.artifacts.signatures", str(run.path))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise Failed(
            f"TensorFlow could not write the SavedModel: {lines[-1] if lines else 'no message'}",
            f"Nothing else of the run is lost. To try again: bookserve finish {run.name}",
        )


def write_saved_model(path: Path, models: InferenceModels) -> None:
    """Write one signature per model, whole or not at all.

    The first model is also ``serving_default`` if no model has that name.
    """
    for model in models.values():
        for layer in model._flatten_layers():
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = False  # cuDNN's fused operation cannot run on a CPU
    archive = keras.export.ExportArchive()
    endpoints = dict(models)
    endpoints.setdefault("serving_default", next(iter(models.values())))
    for name, model in endpoints.items():
        signature = [
            keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=key) for key, tensor in model.input.items()
        ]
        archive.add_endpoint(name, _with_positional_inputs(model), signature)
    partial = path.with_name(f".{path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    archive.write_out(partial, verbose=False)
    partial.replace(path)


def _with_positional_inputs(model: keras.Model) -> Callable[..., Any]:
    """The model as a function with one argument per input; the signature gets its names from the input specs."""
    return lambda *tensors: model(dict(zip(model.input, tensors, strict=True)), training=False)


if __name__ == "__main__":
    finish_signatures(Run(Path(sys.argv[1])))

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Describe the inference graphs of a trained model and write them into its SavedModel, one signature a graph.

``python -m trainers.artifacts.signatures RUN`` writes ``saved_model/`` from ``model.keras``. A training on Keras's JAX
backend runs this in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from bookserve.cli.programs import python_command
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from bookserve.run import Run
from bookserve.verb import Predict
from trainers import catalogue
from trainers.artifacts.layer_graphs import explain_graphs
from trainers.task import Data, Task

InferenceModels = Mapping[str, keras.Model]


def inference_models(task: Task, model: keras.Model, data: Data) -> dict[str, keras.Model]:
    """The models to serve, by graph name, with named inputs and outputs; they share the trained layers.

    A convnet also gets the two graphs that Grad-CAM needs (``trainers/artifacts/layer_graphs.py``).
    """
    if task.graphs:
        return task.graphs(model)
    if not isinstance(data.verb, Predict):
        raise TypeError(f"the task {task.name} needs a function graphs")
    if data.frozen_base:
        first, last = data.frozen_base.input, model(data.frozen_base.output)
    elif isinstance(model, keras.Sequential):
        first, last = model.inputs, model.outputs
    else:
        first, last = model.input, model.output
    inputs, outputs = _tensors_by_name(first, data.verb.inputs), _tensors_by_name(last, data.verb.outputs)
    whole = keras.Model(inputs, outputs, name=task.name)
    return {data.verb.graph: whole, **explain_graphs(whole, data.verb)}


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


def write_signatures(run: Run, models: InferenceModels) -> None:
    """Write ``saved_model/`` of a run that has its ``params.json`` and ``model.keras`` already.

    A SavedModel written by another backend than TensorFlow is one opaque operation, which no converter can read. In
    that case another process loads ``model.keras`` with TensorFlow and writes the SavedModel.

    Raises:
        Failed: that process failed.
    """
    if keras.backend.backend() == "tensorflow":
        write_saved_model(run.path / "saved_model", models)
        return
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    command = python_command("trainers.artifacts.signatures", str(run.path))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise Failed(
            f"TensorFlow could not write the SavedModel: {lines[-1] if lines else 'no message'}",
            "To try again: bookserve train --resume",
        )


def _write_from_keras_file(run: Run) -> None:
    """Write ``saved_model/`` from ``model.keras``."""
    task = catalogue.find_task(run.task)
    params = run.read("params.json")
    model = keras.models.load_model(run.path / "model.keras", custom_objects=task.custom and task.custom())
    write_saved_model(run.path / "saved_model", inference_models(task, model, task.data(params["data"], params)))


def write_saved_model(path: Path, models: InferenceModels) -> None:
    """Write one signature per model. The first model is also ``serving_default`` if no model has that name."""
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
    archive.write_out(path, verbose=False)


def _with_positional_inputs(model: keras.Model) -> Callable[..., Any]:
    """The model as a function with one argument per input; the signature gets its names from the input specs."""
    return lambda *tensors: model(dict(zip(model.input, tensors, strict=True)), training=False)


if __name__ == "__main__":
    _write_from_keras_file(Run(Path(sys.argv[1])))

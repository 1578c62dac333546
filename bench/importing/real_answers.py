# ruff: noqa: T201 - a script for environments of their own
"""Write the answers of a framework for model files of other people: ``python real_answers.py FOLDER FILE...``.

SavedModels are run by a session of TensorFlow 1, ``.keras`` files by the Keras of this environment, ONNX files by
ONNX Runtime as they are. Inputs are random. ``FOLDER/<name>.npz`` gets inputs and answers in the order of the model,
for a SavedModel in that of their names. A copy of the file is written beside it. It imports nothing of the project.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

RNG = np.random.default_rng(7)


def rows(shape: Any, dtype: str) -> np.ndarray:
    size = [3 if place == 0 else int(axis) if axis else 5 for place, axis in enumerate(shape or [3])]
    return RNG.normal(0, 1, size).astype(dtype) if "float" in dtype else RNG.integers(0, 5, size).astype(dtype)


def saved_model(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        meta = v1.saved_model.load(session, ["serve"], str(path))
        signature = meta.signature_def["serving_default"]
        tensors = {key: session.graph.get_tensor_by_name(info.name) for key, info in sorted(signature.inputs.items())}
        given = {key: rows(tensor.shape.as_list(), tensor.dtype.name) for key, tensor in tensors.items()}
        feeds = {tensor.name: given[key] for key, tensor in tensors.items()}
        fetches = [signature.outputs[key].name for key in sorted(signature.outputs)]
        return list(given.values()), session.run(fetches, feeds)


def keras_file(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    import tensorflow as tf

    model = tf.keras.models.load_model(path, compile=False)
    given = [rows(tensor.shape.as_list(), tensor.dtype.name) for tensor in model.inputs]
    answers = model.predict(given if len(given) > 1 else given[0], verbose=0)
    return given, answers if isinstance(answers, list) else [answers]


def dense_layers(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The answers of a stack of Dense layers, by NumPy alone: Keras 2.13 reads its archives of Windows only there."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        layers = [layer["config"] for layer in json.loads(archive.read("config.json"))["config"]["layers"]]
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    names = sorted(name for name in file if "\\dense" in name)
    values = given = rows([0, file[f"{names[0]}/vars/0"].shape[0]], "float32")
    functions = {"relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "linear": lambda x: x}
    for name, layer in zip(names, layers[1:], strict=True):
        values = functions[layer["activation"]](values @ file[f"{name}/vars/0"][:] + file[f"{name}/vars/1"][:])
    return [given], [values]


def onnx_file(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = [
        rows([axis if isinstance(axis, int) else 0 for axis in tensor.shape], "float32")
        for tensor in session.get_inputs()
    ]
    answers = session.run(None, {tensor.name: x for tensor, x in zip(session.get_inputs(), given, strict=True)})
    return given, [np.float32([list(row.values()) for row in y]) if isinstance(y, list) else y for y in answers]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for source in [Path(name) for name in sys.argv[2:] if name != "--dense"]:
        run = saved_model if source.is_dir() else onnx_file if source.suffix == ".onnx" else keras_file
        try:
            inputs, outputs = dense_layers(source) if "--dense" in sys.argv else run(source)
        except Exception as error:
            print(f"{source.name}: left out: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            continue
        target = folder / source.name.replace("/", "_")
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
        name = folder / source.stem if source.is_file() else target.with_name(source.name)
        arrays = {f"x{place}": array for place, array in enumerate(inputs)}
        arrays |= {f"y{place}": np.asarray(array) for place, array in enumerate(outputs)}
        with Path(f"{name}.npz").open("wb") as file:
            np.savez(file, **arrays)

# ruff: noqa: TID253
"""KerasFile: a ``.keras`` file that somebody else saved, read in Keras's safe mode and written as a SavedModel.

Import this module only inside functions: it imports Keras.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve.bundle.examples import Example
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from export.verify import parity

_MAX_CONFIG_BYTES = 64 << 20  # bytes of a model's description
#: What Keras calls tensors that nobody named.
_GENERATED_NAME = re.compile(r"keras_tensor.*|input_layer(_\d+)?")
_SAVED_MODEL_HINT = "Where its code is, write a SavedModel: model.export('my_model'); then export that directory."


class KerasFile:
    """A model that Keras made from its description, without running any code of the file's."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InvalidInput: it is damaged, or needs code that is not Keras's: Lambda layers, classes or functions.
        """
        _refuse_custom_code(path)
        try:
            self._model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # whatever a description leads Keras to
            raise InvalidInput(f"Keras cannot load {path}: {_first_line(error)}.", _SAVED_MODEL_HINT) from error
        if not getattr(self._model, "inputs", None):
            raise InvalidInput(
                f"{path} does not say what the model takes: it is a class of its own.", _SAVED_MODEL_HINT
            )
        for layer in self._model._flatten_layers():
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = False  # a GPU's fused kernel could not be served on a CPU
        one = isinstance(self._model, keras.Sequential)  # which has no structure of inputs and outputs
        self._input_structure: Any = self._model.inputs[0] if one else self._model.input
        gives, last = (None, [self._model.layers[-1].name]) if one else (self._model.output, self._model.output_names)
        self._inputs = _tensor_names(self._input_structure, [tensor.name for tensor in self._model.inputs], "input")
        self._outputs = _tensor_names(gives, last, "output")
        if set(self._inputs) & set(self._outputs):  # ONNX needs them apart
            self._outputs = [f"{name}_output" if name in self._inputs else name for name in self._outputs]

    def save(self, directory: Path) -> None:
        """Write a SavedModel with the one signature ``serving_default``, its tensors named as in Keras.

        Raises:
            Failed: Keras cannot write it.
        """
        archive = keras.export.ExportArchive()
        archive.track(self._model)
        signature = [
            keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=name)
            for name, tensor in zip(self._inputs, self._model.inputs, strict=True)
        ]
        try:
            archive.add_endpoint("serving_default", self._call, signature)
            archive.write_out(str(directory), verbose=False)
        except Exception as error:  # whatever its layers run into
            raise Failed(f"Keras cannot write it as a SavedModel: {_first_line(error)}.", _SAVED_MODEL_HINT) from error

    def compare_with_keras(self, example: Example) -> float:
        """Compare what Keras gives for an example with what it says; the largest difference.

        Raises:
            Failed: past tolerance.
        """
        found = parity.compare(self._run(example.inputs), example.outputs)
        if found.problem:
            raise Failed(f"the SavedModel differs from Keras: {found.problem}.")
        return found.difference

    def _call(self, *tensors: Any) -> dict[str, Any]:
        given = keras.tree.pack_sequence_as(self._input_structure, list(tensors))
        answers = keras.tree.flatten(self._model(given, training=False))
        return dict(zip(self._outputs, answers, strict=True))

    def _run(self, feeds: Arrays) -> Arrays:
        tensors = [
            keras.ops.convert_to_tensor(feeds[name]) if feeds[name].dtype != object else feeds[name]
            for name in self._inputs
        ]
        return {name: np.asarray(keras.ops.convert_to_numpy(value)) for name, value in self._call(*tensors).items()}


def _refuse_custom_code(path: Path) -> None:
    """Refuse what is not Keras's own before Keras reads it, since its messages are long and name the wrong way out."""
    try:
        with zipfile.ZipFile(path) as file:
            if file.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise InvalidInput(f"{path} has a description of more than {_MAX_CONFIG_BYTES >> 20} MiB.")
            description = json.loads(file.read("config.json"))
        code = next(_custom_code(description), "")
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is no whole .keras file: {_first_line(error)}.", "Save or copy it again."
        ) from error
    if code:
        raise InvalidInput(
            f"{path} needs {code}, which is not read from a file: it could do anything.", _SAVED_MODEL_HINT
        )


def _custom_code(item: Any) -> Iterator[str]:
    """In words, what in a description is Python code, or the name of some that Keras does not have."""
    if isinstance(item, list):
        for inner in item:
            yield from _custom_code(inner)
    if not isinstance(item, dict):
        return
    kind, module = item.get("class_name"), str(item.get("module") or "")
    if kind in ("Lambda", "__lambda__"):
        yield "the Python code of a Lambda layer"
    elif kind == "function" and not module.startswith("keras"):
        yield f"the function '{item.get('config')}'"
    elif isinstance(kind, str) and "registered_name" in item:
        registered = item["registered_name"] or ""
        if (module or ">" in registered) and module.partition(".")[0] not in ("keras", "builtins"):
            yield f"the class '{kind}'"
    for key, inner in item.items():
        if key != "compile_config":  # losses and metrics are not needed to answer
            yield from _custom_code(inner)


def _tensor_names(structure: Any, given: list[str], otherwise: str) -> list[str]:
    """A name for each tensor of ``structure``: its key, else the one that Keras ``given`` it; each name once."""
    if isinstance(structure, dict) and len(structure) == len(given):
        given = keras.tree.flatten({key: key for key in structure})
    names: list[str] = []
    for name in given:
        plain = otherwise if _GENERATED_NAME.fullmatch(name) else name.replace("/", "_")
        names.append(plain if plain not in names else f"{plain}_{len(names)}")
    return names


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300].rstrip(".")

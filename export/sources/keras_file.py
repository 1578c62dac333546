# ruff: noqa: TID253
"""Read an external ``.keras`` file in Keras's safe mode and write it as a SavedModel.

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

from bookserve.bundle import parity
from bookserve.bundle.examples import Example
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from export.sources.file_format import zip_json
from export.sources.old_keras.archive import check_archive
from export.sources.reason import innermost_reason

#: The largest ``config.json`` (the description of the model in the file) that is read.
_MAX_CONFIG_BYTES = 64 << 20
#: The names that Keras gives to tensors without a name.
_GENERATED_NAME = re.compile(r"keras_tensor.*|input_layer(_\d+)?")
_SAVED_MODEL_HINT = (
    "Write a SavedModel where its code is available, model.export('my_model'), and export that directory."
)


class KerasFile:
    """A Keras model, built from the description in the file without running any code that the file contains."""

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        """Load the file; ``shown`` is its name for messages where that is not ``path``.

        Raises:
            InvalidInput: it is damaged, or needs code that is not part of Keras: Lambda layers, classes or functions.
        """
        _refuse_custom_code(path)
        shown = shown or path
        try:
            self._model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises errors of many types
            raise InvalidInput(f"Keras cannot load {shown}: {innermost_reason(error)}.", _SAVED_MODEL_HINT) from error
        if not getattr(self._model, "inputs", None):
            raise InvalidInput(
                f"{shown} does not describe the inputs of the model, because it is a subclass of keras.Model.",
                _SAVED_MODEL_HINT,
            )
        for layer in self._model._flatten_layers():
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = False  # the fused kernel of a GPU does not run on a CPU
        one = isinstance(self._model, keras.Sequential)  # it has no structure of inputs and outputs
        self._input_structure: Any = self._model.inputs[0] if one else self._model.input
        gives, last = (None, [self._model.layers[-1].name]) if one else (self._model.output, self._model.output_names)
        self._inputs = _tensor_names(self._input_structure, [tensor.name for tensor in self._model.inputs], "input")
        self._outputs = _tensor_names(gives, last, "output")
        if set(self._inputs) & set(self._outputs):  # ONNX needs different names for inputs and outputs
            self._outputs = [f"{name}_output" if name in self._inputs else name for name in self._outputs]

    def save(self, directory: Path) -> None:
        """Write a SavedModel with the signature ``serving_default``, its tensors named as in Keras.

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
        except Exception as error:  # layers raise errors of many types
            raise Failed(
                f"Keras cannot write it as a SavedModel: {innermost_reason(error)}.",
                "Replace the layer that this is about, and save the model again.",
            ) from error

    def compare_with_keras(self, example: Example) -> float:
        """Compare Keras's answers with the outputs of an example; return the largest difference.

        Raises:
            Failed: a difference is larger than the tolerance.
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


def keras_version(path: Path) -> str:
    """The version of the Keras that wrote a ``.keras`` file; '3' if it does not say."""
    with zipfile.ZipFile(path) as file:
        metadata = zip_json(file, "metadata.json", path) if "metadata.json" in file.namelist() else {}
    return str(metadata.get("keras_version", "3"))


def _refuse_custom_code(path: Path) -> None:
    """Refuse a file that needs code which is not part of Keras.

    Keras in safe mode would refuse it, too, but its message is long and recommends to switch the safe mode off.
    """
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as file:
            if file.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise InvalidInput(f"config.json in {path} is larger than {_MAX_CONFIG_BYTES >> 20} MiB, the limit.")
            description = json.loads(file.read("config.json"))
        code = next(_custom_code(description), "")
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is not a complete .keras file: {innermost_reason(error)}.", "Save or copy it again."
        ) from error
    if code:
        raise InvalidInput(
            f"{path} needs {code}. Code is not loaded from a model file, because it could do anything.",
            _SAVED_MODEL_HINT,
        )


def _custom_code(item: Any) -> Iterator[str]:
    """Yield, in words, each part of a description that is Python code or names code that is not part of Keras."""
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
    """Return a different name for each tensor of ``structure``: its key, else the name that Keras gave it (``given``).

    A generated name of Keras becomes ``otherwise``.
    """
    if isinstance(structure, dict) and len(structure) == len(given):
        given = keras.tree.flatten({key: key for key in structure})
    names: list[str] = []
    for name in given:
        plain = otherwise if _GENERATED_NAME.fullmatch(name) else name.replace("/", "_")
        names.append(plain if plain not in names else f"{plain}_{len(names)}")
    return names

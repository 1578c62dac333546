# ruff: noqa: TID253
"""Read an external ``.keras`` file in Keras's safe mode and write it as a SavedModel.

Import this module only inside functions: it imports Keras.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, numpy_dtype
from export.sources.bfloat16 import without_bfloat16
from export.sources.file_format import zip_json
from export.sources.keras_layers import RecurrentState, fix_layers
from export.sources.old_keras.archive import check_archive
from export.sources.reason import innermost_reason
from export.sources.signature_names import rename_inputs

#: The largest ``config.json`` (the description of the model in the file) that is read.
_MAX_CONFIG_BYTES = 64 << 20
#: The names that TensorFlow takes as they are for the arguments of a function.
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
#: The names that Keras gives to tensors without a name.
_GENERATED_NAME = re.compile(r"keras_tensor.*|input_layer(_\d+)?")
_SAVED_MODEL_HINT = (
    "Name the Python file that has it, if you trust it: bookserve export model.keras --trust-module mine.py. Or write "
    "a SavedModel where its code is available, in Python model.export('my_model'), in R "
    "export_savedmodel(model, 'my_model'), and export that directory."
)


class KerasFile:
    """A Keras model, built from the description in the file without running any code that the file contains."""

    def __init__(self, path: Path, shown: Path | None = None, trusted: Mapping[str, Any] | None = None) -> None:
        """Load the file; ``shown`` is its name for messages where that is not ``path``.

        ``trusted`` are classes and functions by name that it may use beside Keras's own.

        Raises:
            InvalidInput: it is damaged, or needs other code: Lambda layers, classes or functions.
        """
        _refuse_custom_code(path, trusted or {})
        shown = shown or path
        try:
            self._model = keras.saving.load_model(path, dict(trusted or {}), compile=False, safe_mode=True)
        except Exception as error:  # Keras raises errors of many types
            reason = innermost_reason(error).replace(str(path), str(shown))
            raise InvalidInput(f"Keras cannot load {shown}: {reason}.", _SAVED_MODEL_HINT) from error
        fix_layers(self._model)
        self._state = RecurrentState(self._model)
        if getattr(self._model, "inputs", None):
            one = isinstance(self._model, keras.Sequential)  # it has no structure of inputs and outputs
            self._tensors = list(self._model.inputs)
            self._input_structure: Any = self._tensors[0] if one else self._model.input
            gives, last = (
                (None, [self._model.layers[-1].name]) if one else (self._model.output, self._model.output_names)
            )
        else:
            self._input_structure = _built_inputs(self._model, shown)
            self._tensors = keras.tree.flatten(self._input_structure)
            gives = self._model(self._input_structure, training=False)
            last = [f"output_{place}" if place else "output" for place in range(len(keras.tree.flatten(gives)))]
        inputs = _tensor_names(self._input_structure, [tensor.name for tensor in self._tensors], "input")
        outputs = _tensor_names(gives, last, "output")
        self._inputs = [*inputs, *self._state.names]
        self._outputs = [*outputs, *(f"next_{name}" for name in self._state.names)]
        if set(self._inputs) & set(self._outputs):  # ONNX needs different names for inputs and outputs
            self._outputs = [f"{name}_output" if name in self._inputs else name for name in self._outputs]

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of the tensors of ``serving_default`` in Keras's order: ``inputs`` and ``outputs``."""
        return {"inputs": self._inputs, "outputs": self._outputs}

    def save(self, directory: Path) -> None:
        """Write a SavedModel with the signature ``serving_default``, its tensors named as in Keras.

        Raises:
            Failed: Keras cannot write it.
        """
        archive = keras.export.ExportArchive()
        archive.track(self._model)
        tensors = [*self._tensors, *self._state.variables]
        plain = [f"input_{place}" for place in range(len(tensors))]
        names = self._inputs if all(map(_ARGUMENT.fullmatch, self._inputs)) else plain
        signature = [
            keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=name)
            for name, tensor in zip(names, tensors, strict=True)
        ]
        try:
            archive.add_endpoint("serving_default", self._call, signature)
            archive.write_out(str(directory), verbose=False)
        except Exception as error:  # layers raise errors of many types
            raise Failed(
                f"Keras cannot write it as a SavedModel: {innermost_reason(error)}.",
                "Replace the layer that this is about, and save the model again.",
            ) from error
        if names is plain:
            rename_inputs(directory, dict(zip(plain, self._inputs, strict=True)))

    def _call(self, *tensors: Any) -> dict[str, Any]:
        given = keras.tree.pack_sequence_as(self._input_structure, list(tensors[: len(self._tensors)]))
        answers, states = self._state.call(given, tensors[len(self._tensors) :])
        numbers = map(without_bfloat16, keras.tree.flatten(answers))
        return dict(zip(self._outputs, [*numbers, *states], strict=True))

    def run(self, feeds: Arrays) -> Arrays:
        """Keras's answers by name."""
        answers = self._call(*(tf.constant(feeds[name]) for name in self._inputs))
        return {name: np.asarray(value, numpy_dtype(value.dtype.name)) for name, value in answers.items()}


def _built_inputs(model: Any, path: Path) -> Any:
    """The inputs of a subclass of ``keras.Model``, of the shapes that it was built with.

    Raises:
        InvalidInput: the file does not say them.
    """
    shapes = list((getattr(model, "_build_shapes_dict", None) or {}).values())
    if len(shapes) != 1:
        raise InvalidInput(
            f"{path} does not describe the inputs of the model, because it is a subclass of keras.Model.",
            _SAVED_MODEL_HINT,
        )

    def inputs(shape: Any, name: str) -> Any:
        if isinstance(shape, dict):
            return {key: inputs(inner, key) for key, inner in shape.items()}
        if shape and isinstance(shape[0], list | tuple):
            return [inputs(inner, f"{name}_{place}") for place, inner in enumerate(shape)]
        return keras.KerasTensor((None, *shape[1:]), model.compute_dtype, name=name)

    return inputs(shapes[0], "input")


def keras_version(path: Path) -> str:
    """The version of the Keras that wrote a ``.keras`` file; '3' if it does not say."""
    with zipfile.ZipFile(path) as file:
        metadata = zip_json(file, "metadata.json", path) if "metadata.json" in file.namelist() else {}
    return str(metadata.get("keras_version", "3"))


def _refuse_custom_code(path: Path, trusted: Mapping[str, Any]) -> None:
    """Refuse a file that needs code which is not part of Keras, nor ``trusted``.

    Keras in safe mode would refuse it, too, but its message is long and recommends to switch the safe mode off.
    """
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as file:
            if file.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise InvalidInput(f"config.json in {path} is larger than {_MAX_CONFIG_BYTES >> 20} MiB, the limit.")
            description = json.loads(file.read("config.json"))
        code = next(_custom_code(description, trusted), "")
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is not a complete .keras file: {innermost_reason(error)}.", "Save or copy it again."
        ) from error
    if code:
        raise InvalidInput(
            f"{path} needs {code}. Code is not loaded from a model file, because it could do anything.",
            _SAVED_MODEL_HINT,
        )


def _custom_code(item: Any, trusted: Mapping[str, Any]) -> Iterator[str]:
    """Yield, in words, each part of a description that is Python code or names code that is not part of Keras."""
    if isinstance(item, list):
        for inner in item:
            yield from _custom_code(inner, trusted)
    if not isinstance(item, dict):
        return
    kind, module = item.get("class_name"), str(item.get("module") or "")
    if kind in ("Lambda", "__lambda__"):
        yield "the Python code of a Lambda layer"
    elif kind == "function" and not module.startswith("keras"):
        if item.get("config") not in trusted:
            yield f"the function '{item.get('config')}'"
    elif isinstance(kind, str) and "registered_name" in item:
        registered = item["registered_name"] or ""
        own = module.partition(".")[0] in ("keras", "builtins")
        if (module or ">" in registered) and not own and kind not in trusted and registered not in trusted:
            yield f"the class '{kind}'"
    if isinstance(settings := item.get("config"), dict) and isinstance(settings.get("vocabulary"), str):
        yield f"the file '{settings['vocabulary']}' with a vocabulary, which is not part of it"
    for key, inner in item.items():
        if key != "compile_config":  # losses and metrics are not needed to answer
            yield from _custom_code(inner, trusted)


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

"""Open the file of a Keras model of any version: checked first, and rebuilt in a process of its own if it is old.

Files of Keras 3 that are no HDF5 are read by ``export/sources/keras_file.py`` in this process, without their code. HDF5
files and those of Keras 1 and 2 go to ``export/sources/old_keras/process.py``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from export.sources.file_format import file_format, read_json
from export.sources.old_keras.allow_list import check_description
from export.sources.old_keras.archive import copy_archive, read_archive
from export.sources.old_keras.hdf5 import check_hdf5, read_hdf5
from export.sources.old_keras.keras1 import from_keras_1
from export.sources.old_keras.pool import give_back, take_process
from export.sources.old_keras.semantics import complete

#: The names of the copies that the process gets; those of weights by layer, and by attribute.
_ARCHIVE, _DESCRIPTION, _WEIGHTS = "model.keras", "description.json", ("weights.h5", "model.weights.h5")
#: Seconds that one request to the process may take.
_PATIENCE = 900
_WEIGHTS_ONLY_HINT = (
    "Save the whole model where its code is: in Python model.load_weights('{0}'); model.save('model.h5'), in R "
    "load_model_weights_hdf5(model, '{0}'); save_model_hdf5(model, 'model.h5'). Or write its architecture with "
    "model.to_json() (in R model_to_json(model)) and run: bookserve export model.json --weights {0}"
)


#: Layers that look words or numbers up in a table.
_TABLES = ("StringLookup", "IntegerLookup", "TextVectorization")
_BACKEND_NOTE = (
    "the file does not say whether TensorFlow or Theano computed its convolutions, which mirror the kernels; they are "
    'taken as TensorFlow\'s. If the model was trained with Theano, write backend = "theano" into the file of --config.'
)


class KerasModel(Protocol):
    """A Keras model that can be written as a SavedModel."""

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of its ``inputs`` and ``outputs``, in Keras's order."""

    def save(self, directory: Path) -> None:
        """Write a SavedModel with the signature ``serving_default``."""

    def run(self, feeds: Arrays) -> Arrays:
        """Keras's answers by name."""


class Plan(NamedTuple):
    """A checked model file: what the process gets, and what is known of its writer.

    ``keras`` is the package that rebuilds it. ``description`` is complete; ``weights`` is a file in HDF5, or the
    archive whose weights are meant. ``notes`` are sentences for the user.
    """

    path: Path
    keras: str
    maker: dict[str, str]
    description: dict[str, Any]
    weights: Path
    in_archive: bool
    by_layer: bool
    backend: str
    notes: list[str]


def check_file(path: Path, weights: Path | None = None, backend: str = "") -> Plan:
    """Check a file of Keras 1 or 2, or an HDF5 file of Keras 3, before anything is loaded.

    ``weights`` is the file of the weights where ``path`` is an architecture in JSON. ``backend`` is what computed the
    model, if the file does not say.

    Raises:
        InvalidInput: it is damaged, has code, weights only, or anything else that is not loaded.
    """
    kind = file_format(path)
    if kind == "keras2":
        description, version = read_archive(path)
        made, notes = _described(description, version, path)
        return Plan(path, "tf_keras", {"keras": version}, made, path, True, False, "", notes)
    if kind == "architecture":
        if not weights:
            raise InvalidInput(f"{path} is an architecture without weights.", _architecture_hint(path))
        if file_format(weights) != "hdf5":
            raise InvalidInput(f"{weights} is not a file of weights in HDF5.", _architecture_hint(path))
        description = read_json(path.read_bytes(), str(path))
        if isinstance(description, str):
            description = read_json(description.encode(), str(path))
        found = read_hdf5(weights, weights)
        if layer := _without_words(description):
            raise InvalidInput(
                f"the words that the layer '{layer}' learned with adapt() are in neither {path} nor {weights}.",
                "Save the model as one file, model.save('model.keras'), or give the layer its words: vocabulary=[…].",
            )
        version = str(description.get("keras_version") or ("3" if "module" in description else found.maker))
    else:
        weights, found = path, read_hdf5(path, path)
        if found.config is None:
            raise InvalidInput(
                f"{path} holds the weights of a model, but not its architecture.", _WEIGHTS_ONLY_HINT.format(path.name)
            )
        description, version = found.config, found.maker
    made, notes = _described(description, version, path)
    keras = "keras" if _major(version) > 2 else "tf_keras"
    backend = found.backend or backend
    maker = {"keras": version} | ({"backend": backend} if backend else {})
    if not backend and _major(version) < 2 and "channels_first" in json.dumps(made):
        notes = [*notes, _BACKEND_NOTE]
    return Plan(path, keras, maker, made, weights, False, found.layers, backend, notes)


def _without_words(item: Any) -> str:
    """The name of a layer whose table is not in its description; weights in HDF5 do not have it either. Or ''."""
    if isinstance(item, list):
        return next(filter(None, map(_without_words, item)), "")
    if not isinstance(item, dict):
        return ""
    config = item.get("config")
    if item.get("class_name") in _TABLES and isinstance(config, dict) and config.get("vocabulary") is None:
        return str(config.get("name"))
    return next(filter(None, map(_without_words, item.values())), "")


def _architecture_hint(path: Path) -> str:
    beside = [name.name for ending in ("*.h5", "*.hdf5") for name in sorted(path.parent.glob(ending))]
    weights = str(path.with_name(beside[0])) if beside else "WEIGHTS.h5"
    return f"Name the file of its weights, too: bookserve export {path} --weights {weights}"


def _described(description: dict[str, Any], version: str, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Check a description; return what the process gets, and notes."""
    major = _major(version)
    if major > 2:
        check_description(description, path, 3)
        return description, []
    if major < 2:
        description = from_keras_1(description)
    check_description(description, path, major)
    return complete(description)


def _major(version: str) -> int:
    start = version.partition(".")[0]
    return int(start) if start.isdigit() else 2


class RebuiltModel:
    """A model in a process of its own. Close it when it is no longer needed."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        """Load the model; ``directory`` is an empty one for files of both processes.

        Raises:
            InvalidInput: Keras cannot build the model, or it needs too much memory.
            Failed: tf_keras is not installed.
        """
        self._plan, self._directory, self._runs = plan, directory, 0
        #: The files that the process gets, by name in ``directory``, and what the user calls them.
        self._copies = {_ARCHIVE: plan.path, _DESCRIPTION: plan.path} | dict.fromkeys(_WEIGHTS, plan.weights)
        self._process = take_process()
        try:
            self._request(do="open", keras=plan.keras, bytes=plan.weights.stat().st_size)
            self._load()
            self.names: dict[str, list[str]] = self._request(do="names")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the part of the process that has the model."""
        give_back(self._process)

    def save(self, directory: Path) -> None:
        """Write a SavedModel with the signature ``serving_default``, its tensors named as in Keras.

        Raises:
            Failed: Keras cannot write it.
        """
        self._request(Failed, do="save", directory=str(directory))

    def convert(self, archive: Path) -> None:
        """Write the model as a .keras file of Keras 3.

        Raises:
            Failed: Keras cannot write it.
        """
        self._request(Failed, do="convert", archive=str(archive))

    def run(self, feeds: Arrays) -> Arrays:
        """Keras's answers by name.

        Raises:
            Failed: Keras cannot run it on them.
        """
        self._runs += 1
        given, answered = (self._directory / f"{side}{self._runs}.npz" for side in ("inputs", "outputs"))
        arrays = [feeds[name] for name in self.names["inputs"]]
        texts = [array.astype("S") if array.dtype == object else array for array in arrays]
        np.savez(given, **{str(number): array for number, array in enumerate(texts)})  # type: ignore[arg-type]
        self._request(Failed, do="run", inputs=str(given), outputs=str(answered))
        with np.load(answered, allow_pickle=False) as arrays:
            return {name: arrays[str(number)] for number, name in enumerate(self.names["outputs"])}

    def _load(self) -> None:
        plan, here = self._plan, self._directory
        request: dict[str, Any] = {"archive": "", "description": "", "weights": ""}
        if plan.in_archive:
            archive = here / _ARCHIVE
            copy_archive(plan.weights, plan.description, archive, lambda file: check_hdf5(file, plan.path))
            request["archive"] = str(archive)
        else:
            description = here / _DESCRIPTION
            description.write_text(json.dumps(plan.description), "utf-8")
            weights = here / _WEIGHTS[0 if plan.by_layer else 1]
            shutil.copyfile(plan.weights, weights)
            check_hdf5(weights, plan.weights)  # the copy is what is loaded: nobody has changed it meanwhile
            whole = plan.keras == "keras" and plan.weights == plan.path  # Keras 3 builds its own HDF5 files as a whole
            request |= (
                {"archive": str(weights)} if whole else {"description": str(description), "weights": str(weights)}
            )
        self._request(do="load", keras=plan.keras, backend=plan.backend, **request)

    def _request(self, kind: type[InvalidInput] | type[Failed] = InvalidInput, **request: Any) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises:
            InvalidInput, Failed: ``kind`` if Keras could not do it, Failed if the process ended.
        """
        path = self._plan.path
        answer = self._process.ask(request, _PATIENCE)
        if "ended" in answer:
            does = f"it was to {request['do']} the model"
            raise Failed(
                f"the process that rebuilds {path} ended with exit code {answer['ended']}; {does}.",
                "It may need more memory or time than there is. Free some memory, or make the model smaller.",
            )
        if "error" not in answer:
            return answer
        reason = str(answer["error"])
        for copy, given in self._copies.items():
            reason = reason.replace(str(self._directory / copy), str(given))
        reason = reason.replace(str(self._directory), str(path.parent))
        if "No module named 'tf_keras'" in reason:
            raise Failed(
                f"{path} was written by Keras {self._plan.maker['keras']}, and the package tf-keras is not installed.",
                "Install it: pip install tf-keras",
            )
        by = f" (written by Keras {self._plan.maker['keras']})"
        hint = _SAVED_MODEL_HINT if request["do"] == "load" else _LAYER_HINT
        raise kind(f"Keras cannot {_DOES.get(request['do'], request['do'])} {path}{by}: {reason}.", hint)


_DOES = {"save": "write the SavedModel of", "convert": "write the .keras form of"}
_LAYER_HINT = "Replace the layer that this is about, and save the model again."


_SAVED_MODEL_HINT = (
    "Write a SavedModel with the version that made it, and export that directory. In Python: "
    "tf.saved_model.save(model, 'my_model'). In R: save_model_tf(model, 'my_model')."
)


@contextmanager
def open_rebuilt(plan: Plan) -> Iterator[KerasModel]:
    """Rebuild a checked model, and end its process afterwards.

    Raises:
        InvalidInput, Failed: see ``RebuiltModel``.
    """
    with tempfile.TemporaryDirectory(prefix="bookserve-") as directory:
        model = RebuiltModel(plan, Path(directory))
        try:
            if plan.keras == "tf_keras":
                yield model
                return
            from export.sources.keras_file import KerasFile

            archive = Path(directory) / _ARCHIVE
            model.convert(archive)
            yield KerasFile(archive, plan.path)
        finally:
            model.close()

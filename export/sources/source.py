"""Find what a bundle is made from: a Run of bookserve's trainers, or an external model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bookserve.bundle import MANIFEST
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.run import SAVED_MODEL, Run, find_run, list_runs
from export.sources.config import Config
from export.sources.file_format import FORMATS_HINT, Format, file_format

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


class Source(NamedTuple):
    """A model to export.

    ``path`` is a SavedModel's directory or a model file. ``run`` is the Run that wrote it, None for an external model;
    ``config`` describes an external model. ``weights`` is the file of the weights where ``path`` is an architecture.
    """

    name: str
    path: Path
    run: Run | None = None
    config: Config = Config()
    weights: Path | None = None
    #: A Python file that the user trusts, with classes that the model in a ``.keras`` file needs.
    trusted_module: Path | None = None

    @property
    def kind(self) -> Format:
        """The format in which the model is saved."""
        return file_format(self.path)


def find_source(
    argument: str,
    runs: Path,
    name: str | None = None,
    config: Path | None = None,
    weights: Path | None = None,
    trusted_module: Path | None = None,
) -> Source:
    """Find the source that ``argument`` names.

    It is the file or directory of a model, the directory of a run, ``task/time``, or a task, which means its newest
    finished run. The model's name is ``name``; by default it is the task of a run, or the file or directory of an
    external model. In the layouts of TensorFlow Serving and Triton (``my_model/3``, ``my_model/3/model.onnx``) the
    default is ``my_model``. ``weights`` belongs to an architecture in JSON, ``trusted_module`` to a ``.keras`` file.

    Raises:
        NotFound: there is no such file, directory, run or task.
        InvalidInput: it is a bundle or a file of another format, or ``config`` is wrong or given for a run.
        Failed: the run is unfinished or damaged.
    """
    path = Path(argument)
    if (path / MANIFEST).is_file():
        raise InvalidInput(f"{argument} is a bundle already.", "Serve it, or export its run again.")
    if path.name in _SAVED_MODEL_FILES and path.is_file():
        path = path.parent
    if path.is_file() or any((path / file).is_file() for file in _SAVED_MODEL_FILES):
        kind = file_format(path)
        if weights and kind != "architecture":
            raise InvalidInput(f"{argument} has weights of its own; --weights is for architectures in JSON.")
        if weights and not weights.is_file():
            raise NotFound(f"there is no file {weights}.")
        if trusted_module and kind != "keras":
            raise InvalidInput(f"{argument} needs no module: --trust-module is for .keras files of Keras 3.")
        if trusted_module and not trusted_module.is_file():
            raise NotFound(f"there is no file {trusted_module}.")
        known = Config.load(config) if config else Config()
        plain = name or _default_name(path.resolve())
        return Source(plain, path.resolve(), config=known, weights=weights, trusted_module=trusted_module)
    run = Run(path.resolve()) if (path / "task.json").is_file() else _find_run(argument, runs)
    if config:
        raise InvalidInput(
            f"{argument} is a run, which has labels and Steps of its own; --config is for external models.",
            "Leave --config out.",
        )
    if not run.finished:
        raise Failed(f"the run {run.name} is unfinished.", f"Finish it: bookserve train {run.task} --resume")
    return _source_of_run(run, name or run.recipe.origin.task)


def find_sources(runs: Path) -> list[Source]:
    """Find the newest finished run of every task under ``runs``, ordered by task.

    Raises:
        NotFound: there is no finished run.
        Failed: a run has no SavedModel.
    """
    newest = {run.task: run for run in list_runs(runs) if run.finished}
    if not newest:
        raise NotFound(f"there is no finished run in {runs}.", "Train a task: bookserve train mnist_convnet")
    return [_source_of_run(run, task) for task, run in sorted(newest.items())]


def _source_of_run(run: Run, name: str) -> Source:
    if not run.has_saved_model:
        raise Failed(
            f"the run {run.name} has no SavedModel: it was trained without TensorFlow, or was not copied whole.",
            f"Write it with TensorFlow: bookserve finish {run.path}",
        )
    return Source(name, run.path / SAVED_MODEL, run)


def _default_name(path: Path) -> str:
    if path.is_file():
        general = path.stem in ("model", "saved_model")
        path = path.parent if general else path.with_suffix("")
    directory = path.parent.name if path.name.isdigit() else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "_", directory).lstrip("._-")


def _find_run(argument: str, runs: Path) -> Run:
    try:
        return find_run(runs, argument)
    except NotFound as error:
        path = Path(argument)
        if path.suffix in (".keras", ".onnx", ".h5", ".hdf5", ".json"):
            raise NotFound(f"there is no file {argument}.") from error
        if path.is_dir():
            raise NotFound(f"the directory {argument} holds neither a SavedModel nor a run.", FORMATS_HINT) from error
        raise

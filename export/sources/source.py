"""Find what a bundle is made from: a Run of bookserve's trainers, or an external model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from bookserve.bundle import MANIFEST
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.run import SAVED_MODEL, Run, find_run, list_runs
from export.sources.config import Config

_SOURCE_KINDS_HINT = "Name a task, a run, the directory of a SavedModel, a .keras file or an .onnx file."


class Source(NamedTuple):
    """A model to export.

    ``path`` is a SavedModel's directory, a ``.keras`` or an ``.onnx`` file. ``run`` is the Run that wrote it, None for
    an external model; ``config`` describes an external model.
    """

    name: str
    path: Path
    run: Run | None = None
    config: Config = Config()

    @property
    def kind(self) -> Literal["saved_model", "keras", "onnx"]:
        """The format in which the model is saved."""
        if self.path.suffix == ".onnx" and self.path.is_file():
            return "onnx"
        return "keras" if self.path.suffix == ".keras" and self.path.is_file() else "saved_model"


def find_source(argument: str, runs: Path, name: str | None = None, config: Path | None = None) -> Source:
    """Find the source that ``argument`` names.

    It is the file or directory of a model, the directory of a run, ``task/time``, or a task, which means its newest
    finished run. The model's name is ``name``; by default it is the task of a run, or the file or directory of an
    external model. In the layouts of TensorFlow Serving and Triton (``my_model/3``, ``my_model/3/model.onnx``) the
    default is ``my_model``.

    Raises:
        NotFound: there is no such file, directory, run or task.
        InvalidInput: it is a bundle or a file of another format, or ``config`` is wrong or given for a run.
        Failed: the run is unfinished or damaged.
    """
    path = Path(argument)
    if (path / MANIFEST).is_file():
        raise InvalidInput(f"{argument} is a bundle already.", "Serve it, or export its run again.")
    if path.is_file() or (path / "saved_model.pb").is_file():
        _refuse_unsupported_file(path)
        known = Config.load(config) if config else Config()
        return Source(name or _default_name(path.resolve()), path.resolve(), config=known)
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


def _refuse_unsupported_file(path: Path) -> None:
    if path.is_dir() or path.suffix in (".keras", ".onnx"):
        return
    if path.suffix in (".h5", ".hdf5"):
        raise InvalidInput(
            f"{path} is an HDF5 file, which can contain Python code and is not read.",
            "Convert it where you trust it: keras.models.load_model('model.h5').save('model.keras')",
        )
    if path.suffix in (".pt", ".pth", ".pkl", ".joblib", ".bin"):
        raise InvalidInput(
            f"{path} may be a pickle, which runs code when it is read, and is not read.",
            "Write an ONNX file where you trust it: torch.onnx.export(…) or skl2onnx.to_onnx(…)",
        )
    raise InvalidInput(f"{path} is not a model in a format that bookserve reads.", _SOURCE_KINDS_HINT)


def _find_run(argument: str, runs: Path) -> Run:
    try:
        return find_run(runs, argument)
    except NotFound as error:
        path = Path(argument)
        if path.suffix in (".keras", ".onnx", ".h5", ".hdf5"):
            raise NotFound(f"there is no file {argument}.") from error
        if path.is_dir():
            raise NotFound(
                f"the directory {argument} holds neither a SavedModel nor a run.", _SOURCE_KINDS_HINT
            ) from error
        raise

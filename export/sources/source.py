"""Source: what a bundle is made from – a Run of ours, or a model that somebody else made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from bookserve.bundle import MANIFEST
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.run import Run, find_run, list_runs
from export.sources.config import Config

_SOURCE_KINDS_HINT = "Give a task, a run, a SavedModel's directory, a .keras or an .onnx file."


class Source(NamedTuple):
    """``path``: a SavedModel's directory, a ``.keras`` or an ``.onnx`` file; ``run``: the Run that left it.

    ``config`` says what its maker knows of a model that no Run of ours left.
    """

    name: str
    path: Path
    run: Run | None = None
    config: Config = Config()

    @property
    def kind(self) -> Literal["saved_model", "keras", "onnx"]:
        """In which way the model was saved."""
        if self.path.suffix == ".onnx" and self.path.is_file():
            return "onnx"
        return "keras" if self.path.suffix == ".keras" and self.path.is_file() else "saved_model"


def find_source(argument: str, runs: Path, name: str | None = None, config: Path | None = None) -> Source:
    """What ``argument`` means: a model's file or directory, a run's directory, ``task/time``, or a task (newest run).

    The model is called ``name``; by default a run's model is called as its task, a foreign one as its file or directory
    (in the layout of TensorFlow Serving and Triton, ``my_model/3`` and ``my_model/3/model.onnx``, it is ``my_model``).

    Raises:
        NotFound: nothing of that name.
        InvalidInput: a bundle, which is no source but what comes of one; a file of another kind; or a wrong ``config``.
        Failed: the run is unfinished or damaged.
    """
    path = Path(argument)
    if (path / MANIFEST).is_file():
        raise InvalidInput(f"{argument} is a bundle already.", "Serve it as it is, or export its run again.")
    if path.is_file() or (path / "saved_model.pb").is_file():
        _refuse_unsupported_file(path)
        known = Config.load(config) if config else Config()
        return Source(name or _default_name(path.resolve()), path.resolve(), config=known)
    run = Run(path.resolve()) if (path / "task.json").is_file() else _find_run(argument, runs)
    if config:
        raise InvalidInput(f"{argument} is a run, which knows its labels and Steps.", "Leave --config out.")
    if not run.finished:
        raise Failed(f"the run {run.name} is unfinished.", f"Finish it: bookserve train {run.task} --resume")
    if not (run.path / "saved_model" / "saved_model.pb").is_file():
        raise Failed(f"{run.path} holds no SavedModel.", "It is damaged or incomplete: train again.")
    return Source(name or run.recipe.origin.task, run.path / "saved_model", run)


def find_sources(runs: Path) -> list[Source]:
    """The newest finished run of every task under ``runs``, by name.

    Raises:
        NotFound: there is none.
    """
    newest = {run.task: run for run in list_runs(runs) if run.finished}
    if not newest:
        raise NotFound(f"there is no finished run in {runs}.", "Train a task: bookserve train mnist_convnet")
    return [Source(task, run.path / "saved_model", run) for task, run in sorted(newest.items())]


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
            f"{path} is a model in HDF5, a format that can hide Python code.",
            "Save it anew where it was made: keras.models.load_model('model.h5').save('model.keras')",
        )
    if path.suffix in (".pt", ".pth", ".pkl", ".joblib", ".bin"):
        raise InvalidInput(
            f"{path} may be a pickle, which runs what it holds.",
            "Write ONNX where it was made: torch.onnx.export(…), or skl2onnx.to_onnx(…)",
        )
    raise InvalidInput(f"{path} is no model that bookserve can read.", _SOURCE_KINDS_HINT)


def _find_run(argument: str, runs: Path) -> Run:
    try:
        return find_run(runs, argument)
    except NotFound as error:
        path = Path(argument)
        if path.suffix in (".keras", ".onnx", ".h5", ".hdf5"):
            raise NotFound(f"there is no file {argument}.") from error
        if path.is_dir():
            raise NotFound(f"{argument} holds no saved_model.pb and no run.", _SOURCE_KINDS_HINT) from error
        raise

"""Source: what a bundle is made from – a Run of ours, or a SavedModel that somebody else made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bookserve import run as runs_of
from bookserve.bundle import MANIFEST
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.run import Run


class Source(NamedTuple):
    """``name`` of the model, the SavedModel's directory, and the Run that left it (None for a foreign one)."""

    name: str
    saved_model: Path
    run: Run | None = None


def find(argument: str, runs: Path, name: str | None = None) -> Source:
    """What ``argument`` means: a SavedModel's directory, a run's directory, ``task/time``, or a task (newest run).

    The model is called ``name``; by default a run's model is called as its task, a foreign one as its directory (in
    TensorFlow Serving's layout ``my_model/3`` it is ``my_model``).

    Raises:
        NotFound: nothing of that name.
        InvalidInput: a bundle, which is no source but what comes of one.
        Failed: the run is unfinished or damaged.
    """
    path = Path(argument)
    if (path / MANIFEST).is_file():
        raise InvalidInput(f"{argument} is a bundle already.", "Serve it as it is, or export its run again.")
    if (path / "saved_model.pb").is_file():
        path = path.resolve()
        directory = path.parent.name if path.name.isdigit() else path.name
        return Source(name or re.sub(r"[^A-Za-z0-9._-]+", "_", directory).lstrip("._-"), path)
    run = Run(path.resolve()) if (path / "task.json").is_file() else _find_run(argument, runs)
    if not run.finished:
        raise Failed(f"the run {run.name} is unfinished.", f"Finish it: bookserve train {run.task} --resume")
    if not (run.path / "saved_model" / "saved_model.pb").is_file():
        raise Failed(f"{run.path} holds no SavedModel.", "It is damaged or incomplete: train again.")
    return Source(name or run.recipe.origin.task, run.path / "saved_model", run)


def find_all(runs: Path) -> list[Source]:
    """The newest finished run of every task under ``runs``, by name.

    Raises:
        NotFound: there is none.
    """
    newest = {run.task: run for run in runs_of.scan(runs) if run.finished}
    if not newest:
        raise NotFound(f"there is no finished run in {runs}.", "Train a task: bookserve train mnist_convnet")
    return [Source(task, run.path / "saved_model", run) for task, run in sorted(newest.items())]


def _find_run(argument: str, runs: Path) -> Run:
    try:
        return runs_of.find(runs, argument)
    except NotFound as error:
        path = Path(argument)
        if path.suffix in (".keras", ".h5") and path.is_file():
            raise NotFound(
                f"{argument} is a Keras file, not a SavedModel.", "Save it as one first: model.export('my_model')"
            ) from error
        if path.is_dir():
            raise NotFound(
                f"{argument} holds no saved_model.pb and no run.", "Give a task, a run or a SavedModel's directory."
            ) from error
        raise

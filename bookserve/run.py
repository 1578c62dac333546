"""Read and write training runs: the directories ``runs/<task>/<UTC time>/``.

======================  ==========================================================================
``task.json``           the task, its verb and the graphs of the SavedModel
``params.json``         all parameters of the training
``metrics.json``        metrics; ``baseline``: the metric of a trivial model; ``book``: the book's figures
``history.csv``         one line per epoch; ``history.png`` is its plot, ``tensorboard/`` its form for TensorBoard
``model.keras``         the model as Keras saves it
``base.keras``          the frozen network whose outputs the model was trained on, if there is one
``saved_model/``        every inference graph as a named signature; written last, by TensorFlow: ``bookserve finish``
                        writes it where the training could not
``folds.json``          metrics of each fold, if there was a K-fold validation
``examples.npz``        raw rows, input tensors and Keras's outputs at the end of training
``environment.json``    versions, machine, command, seconds
``checkpoint/``         only while training is unfinished; ``--resume`` continues from it
======================  ==========================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bookserve.errors import Failed, NotFound, did_you_mean
from bookserve.graph import Graph
from bookserve.steps import vocabulary
from bookserve.verb import Verb

#: Files and directories of a run.
KERAS_MODEL, FROZEN_BASE, SAVED_MODEL = "model.keras", "base.keras", "saved_model"

#: Entries of ``metrics.json`` that are counts, not metrics.
COUNTS = ("epochs", "seconds", "parameters")

_TIME = "%Y-%m-%dT%H-%M-%SZ"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model of the book this is, and which data it was trained on."""

    task: str
    section: str
    summary: str
    #: ``real`` or ``sample``; ``dataset`` describes the data in words.
    data: str
    dataset: str
    book: dict[str, float]
    #: The metric by which runs of this task are compared.
    metric: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``task.json``: what the exporter needs besides the SavedModel."""

    origin: Origin
    verb: Verb
    graphs: dict[str, Graph]


class Run:
    """One run directory; its files are read when they are needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def task(self) -> str:
        """Name of the task that was trained."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """``<task>/<UTC time>``, as on the command line."""
        return f"{self.task}/{self.path.name}"

    @property
    def finished(self) -> bool:
        """Whether training has finished: ``metrics.json`` is written when everything is but the SavedModel."""
        return (self.path / "metrics.json").exists()

    @property
    def has_saved_model(self) -> bool:
        """Whether the run can be exported; the SavedModel is missing where training had no TensorFlow."""
        return (self.path / SAVED_MODEL / "saved_model.pb").is_file()

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of ``metrics.json``: numbers, and the book's figures in ``book``. Empty until training has ended."""
        return self.read("metrics.json") if self.finished else {}

    @property
    def figures(self) -> dict[str, float]:
        """``metrics`` without counts, the baseline and the book's figures."""
        return {name: float(value) for name, value in self.metrics.items() if name not in ("book", "baseline", *COUNTS)}

    @property
    def recipe(self) -> Recipe:
        """The task, its verb and graphs."""
        return vocabulary.load_vocabularies(self.path / "task.json", Recipe)

    def read(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name`` of this run.

        Raises:
            Failed: the file is missing or damaged.
        """
        try:
            return dict(json.loads((self.path / name).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise Failed(f"{self.path / name} cannot be read: {error}.", "Train again.") from error

    def write(self, name: str, fields: dict[str, Any]) -> None:
        """Write a JSON object to the file ``name`` of this run, atomically."""
        partial = self.path / f".{name}"
        partial.write_text(json.dumps(fields, indent=1) + "\n", "utf-8")
        partial.replace(self.path / name)


def create_run(runs: Path, task: str) -> Run:
    """Create the directory of a new run of ``task``, named after the current UTC time."""
    stamp = datetime.now(UTC).strftime(_TIME)
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
        path = runs / task / f"{stamp}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return Run(path)
    raise Failed(f"{runs / task} already has a thousand runs of this second.")


def list_runs(runs: Path, task: str = "*") -> Iterator[Run]:
    """Yield the runs under ``runs`` of one task or of all, oldest first."""
    for path in sorted(runs.glob(f"{task}/*")):
        if _NAME.fullmatch(path.name) and path.is_dir():
            yield Run(path)


def latest_run(runs: Path, task: str, *, finished: bool = True) -> Run:
    """The newest finished (or unfinished) run of a task.

    Raises:
        NotFound: there is no such run.
    """
    found = [run for run in list_runs(runs, task) if run.finished is finished]
    if not found:
        kind = "finished" if finished else "unfinished"
        similar = did_you_mean(task, sorted({run.task for run in list_runs(runs)} - {task}))
        raise NotFound(f"there is no {kind} run of '{task}' in {runs}.", f"{similar}Train it: bookserve train {task}")
    return found[-1]


def find_run(runs: Path, name: str) -> Run:
    """Find a run by ``task`` (its newest finished run), ``task/time``, or the path of a run directory.

    Raises:
        NotFound: there is no such run.
    """
    for path in (runs / name, Path(name)):
        if _NAME.fullmatch(path.resolve().name) and path.is_dir():
            return Run(path.resolve())
    if "/" in name:
        raise NotFound(f"there is no run '{name}' in {runs}.", "See them with: bookserve runs")
    return latest_run(runs, name)

"""Run: the directory that one training leaves, ``runs/<task>/<UTC time>/``.

======================  ==========================================================================
``task.json``           what was trained: the task, its verb and the graphs of the SavedModel
``params.json``         every parameter in force
``metrics.json``        what was measured, ``baseline``: the metric without skill, and ``book``: the book's figures
``history.csv``         one line an epoch; ``history.png`` draws it; ``tensorboard/`` holds it for TensorBoard
``saved_model/``        every inference graph as a named signature
``model.keras``         the model as Keras saves it
``folds.json``          what each fold of a K-fold validation measured, where there was one
``examples.npz``        rows, tensors and Keras's outputs at the end of training
``environment.json``    versions, machine, command, seconds
``checkpoint/``         only while training is unfinished: what ``--resume`` continues from
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

from bookserve.errors import Failed, NotFound
from bookserve.graph import Graph
from bookserve.steps import vocabulary
from bookserve.verb import Verb

#: What ``metrics.json`` counts beside the figures.
COUNTS = ("epochs", "seconds", "parameters")

_TIME = "%Y-%m-%dT%H-%M-%SZ"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model of the book this is, and on what it was trained."""

    task: str
    section: str
    summary: str
    #: ``real`` or ``sample``, and what that was in words.
    data: str
    dataset: str
    book: dict[str, float]
    #: The figure by which runs of this task are compared.
    metric: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``task.json``: all that the exporter needs to know beside the SavedModel."""

    origin: Origin
    verb: Verb
    graphs: dict[str, Graph]


class Run:
    """One run directory; nothing is read before it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def task(self) -> str:
        """Name of the task that was trained."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """``<task>/<UTC time>``, as the command line takes it."""
        return f"{self.task}/{self.path.name}"

    @property
    def finished(self) -> bool:
        """Whether training came to its end (``metrics.json`` is written last)."""
        return (self.path / "metrics.json").exists()

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured: flat numbers, and ``book`` with the book's figures. Empty while unfinished."""
        return self.read("metrics.json") if self.finished else {}

    @property
    def figures(self) -> dict[str, float]:
        """The figures by which a model is judged: ``metrics`` without counts, the baseline and the book's."""
        return {name: float(value) for name, value in self.metrics.items() if name not in ("book", "baseline", *COUNTS)}

    @property
    def recipe(self) -> Recipe:
        """The task, its verb and graphs."""
        return vocabulary.load_vocabularies(self.path / "task.json", Recipe)

    def read(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name`` of this run.

        Raises:
            Failed: missing or damaged.
        """
        try:
            return dict(json.loads((self.path / name).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise Failed(f"{self.path / name} cannot be read: {error}.", "Train again.") from error

    def write(self, name: str, fields: dict[str, Any]) -> None:
        """Write a JSON object to the file ``name`` of this run, whole or not at all."""
        partial = self.path / f".{name}"
        partial.write_text(json.dumps(fields, indent=1) + "\n", "utf-8")
        partial.replace(self.path / name)


def create_run(runs: Path, task: str) -> Run:
    """Make the directory of a new run of ``task``, named by the current UTC time."""
    stamp = datetime.now(UTC).strftime(_TIME)
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
        path = runs / task / f"{stamp}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return Run(path)
    raise Failed(f"{runs / task} already holds a thousand runs of this second.")


def list_runs(runs: Path, task: str = "*") -> Iterator[Run]:
    """All runs under ``runs`` (of one task, or of all), oldest first."""
    for path in sorted(runs.glob(f"{task}/*")):
        if _NAME.fullmatch(path.name) and path.is_dir():
            yield Run(path)


def latest_run(runs: Path, task: str, *, finished: bool = True) -> Run:
    """The newest finished (or unfinished) run of a task.

    Raises:
        NotFound: there is none.
    """
    found = [run for run in list_runs(runs, task) if run.finished is finished]
    if not found:
        kind = "finished" if finished else "unfinished"
        raise NotFound(f"there is no {kind} run of '{task}' in {runs}.", f"Train it: bookserve train {task}")
    return found[-1]


def find_run(runs: Path, name: str) -> Run:
    """The run called ``name``: a task (its newest finished run), ``task/time``, or the path of a run directory.

    Raises:
        NotFound: nothing of that name.
    """
    for path in (runs / name, Path(name)):
        if _NAME.fullmatch(path.resolve().name) and path.is_dir():
            return Run(path.resolve())
    if "/" in name:
        raise NotFound(f"there is no run '{name}' in {runs}.", "See them with: bookserve runs")
    return latest_run(runs, name)

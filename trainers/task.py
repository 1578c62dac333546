"""Task: one model of the book, as a file ``trainers/chNN/<name>.py`` describes it.

A task file holds, from top to bottom, ``data`` (a data set's rows through the Steps of a Verb), ``build`` (the compiled
Keras model), ``graphs`` where the model is used in other ways than it is trained, and last ``TASK``, which names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.graph import Arrays
from bookserve.verb import Verb
from trainers import settings
from trainers.arrays import TrainingArrays
from trainers.datasets.dataset import Kind

if TYPE_CHECKING:
    import keras

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Data:
    """What one task trains on: arrays that have passed the Steps of ``verb``, the very ones that are served later."""

    verb: Verb
    #: What the rows are and where they come from, in words.
    about: str
    train: TrainingArrays
    validation: TrainingArrays | None
    test: TrainingArrays | None
    #: A few raw rows (texts or uint8 pictures) for ``examples.npz`` …
    rows: np.ndarray
    #: … and, for each inference graph, the inputs that Keras's expected outputs are computed from.
    feeds: dict[str, Arrays]
    #: What the task's metric is without skill (``trainers/preparation/baseline.py``); None where that means nothing.
    baseline: float | None = None
    #: A frozen network that the rows of ``train``, ``validation`` and ``test`` have passed already, and which stands in
    #: front of the trained one where it is served (section 5.3.1).
    front: Any = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One model of the book. Nothing here imports Keras before ``build`` runs."""

    #: Section and listings of the book.
    section: str
    listings: str
    summary: str
    #: Name of the data set: a module of ``trainers/datasets``.
    dataset: str
    #: ``predict``, ``generate`` or ``sample``.
    verb: str
    #: Figures printed in the book, by the name that ``metrics.json`` gives ours.
    book: dict[str, float] = field(default_factory=dict)
    #: What the book shows where it prints no figure.
    shown: str = ""
    #: The figure by which runs of this task are compared.
    metric: str
    #: The task's parameters with the book's values, over those that every task has (``trainers/settings.py``);
    #: with no ``epochs`` there is nothing to train. ``sample`` replaces some of them for short training.
    params: dict[str, Any]
    sample: dict[str, Any] = field(default_factory=dict)
    data: Callable[[Kind, Params], Data]
    build: Callable[[Data, Params], keras.Model]
    #: Inference graphs of a trained model, by signature name, the default one first. None: the model itself, with its
    #: inputs and outputs named as the verb names them.
    graphs: Callable[[keras.Model], dict[str, keras.Model]] | None = None
    #: Called once after the last epoch: more figures for ``metrics.json``; may put other weights into the model.
    conclude: Callable[[keras.Model, Data, Params], dict[str, float]] | None = None
    #: Classes of the task's own that ``model.keras`` needs to be loaded, by name.
    custom: Callable[[], dict[str, type]] | None = None

    #: File stem and chapter folder; the catalogue fills them in.
    name: str = ""
    chapter: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger ``metric`` is the better one."""
        return settings.higher_is_better(self.metric)

    def defaults(self, kind: Kind) -> dict[str, Any]:
        """Every parameter with its default for data of that kind."""
        own = {**self.params, **(self.sample if kind == "sample" else {})}
        return {**self.params, **settings.DEFAULTS, **own}  # the task's own are listed first

    def command(self, params: Params) -> list[str]:
        """The words of the command line that trains with ``params`` (``data`` and ``seed`` among them) again."""
        words = ["bookserve", "train", self.name, "--data", params["data"], "--seed", str(params["seed"])]
        for name, value in self.defaults(params["data"]).items():
            if params[name] != value:
                words += ["-p", f"{name}={params[name]}"]
        return words

"""Define what a task is: one model of the book, described by a file ``trainers/chNN/<name>.py``.

A task file holds, from top to bottom: ``data`` (passes the rows of a data set through the Steps of a Verb), ``build``
(returns the compiled Keras model), ``graphs`` (only if the model is served in another form than it is trained), and
``TASK``, which brings them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.graph import Arrays
from bookserve.verb import Verb
from trainers import settings
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind

if TYPE_CHECKING:
    import keras

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Data:
    """What one task trains on: arrays that have passed the Steps of ``verb``. The server applies the same Steps."""

    verb: Verb
    #: A few words on what the rows are and where they come from; shown on the model card.
    about: str
    train: TrainingArrays
    validation: TrainingArrays | None
    test: TrainingArrays | None
    #: A few raw rows (texts or uint8 pictures), saved in ``examples.npz``.
    example_rows: np.ndarray
    #: Inputs of each inference graph, by graph name. Keras computes the expected outputs in ``examples.npz`` from them.
    example_feeds: dict[str, Arrays]
    #: The task's metric for a model without skill (``trainers/preparation/baseline.py``); None if it has no such value.
    baseline: float | None = None
    #: A frozen network whose outputs ``train``, ``validation`` and ``test`` hold. The served model is this network,
    #: followed by the trained one (section 5.3.1).
    frozen_base: Any = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One model of the book. Keras is imported only when one of its functions runs."""

    #: The section of the book, and its listings.
    section: str
    listings: str
    #: What the model does, as a phrase without a full stop, such as "classifies handwritten digits"; shown while it is
    #: trained and on its model card.
    summary: str
    #: The data set: the name of a module in ``trainers/datasets``.
    dataset: str
    #: ``predict``, ``generate``, ``sample`` or ``transform``.
    verb: str
    #: Figures printed in the book, under the names that ``metrics.json`` has for ours.
    book: dict[str, float] = field(default_factory=dict)
    #: What the book says about the result, if it prints no figure.
    shown: str = ""
    #: The name of the figure by which runs of this task are compared.
    metric: str
    #: Other figures that are shown after training.
    further: tuple[str, ...] = ()
    #: The task's own parameters with the book's values. They override the settings of every task
    #: (``trainers/settings.py``). ``epochs`` of 0: nothing is trained. ``sample`` has other values for the sample data.
    params: dict[str, Any]
    sample: dict[str, Any] = field(default_factory=dict)
    data: Callable[[Kind, Params], Data]
    build: Callable[[Data, Params], keras.Model]
    #: Returns the inference graphs of a trained model by signature name, the default graph first. None: the model
    #: itself is the only graph, and its inputs and outputs get the verb's names.
    graphs: Callable[[keras.Model], dict[str, keras.Model]] | None = None
    #: Called once after the last epoch; returns more figures for ``metrics.json``. May change the model's weights.
    conclude: Callable[[keras.Model, Data, Params], dict[str, float]] | None = None
    #: The task whose trained model this one may start from, named by the parameter ``start``; empty: none.
    starts_from: str = ""
    #: Returns the custom Keras classes, by name, that loading ``model.keras`` needs.
    custom: Callable[[], dict[str, type]] | None = None

    #: The file's stem and its chapter folder, set by the catalogue.
    name: str = ""
    chapter: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values of ``metric`` are better."""
        return settings.higher_is_better(self.metric)

    def defaults(self, kind: Kind) -> dict[str, Any]:
        """All parameters with their default values for data of that kind."""
        own = {**self.params, **(self.sample if kind == "sample" else {})}
        return {**self.params, **settings.DEFAULTS, **own}  # the task's own parameters come first

    def command(self, params: Params) -> list[str]:
        """The command line, as a list of words, that repeats a training with ``params`` (including data and seed)."""
        words = ["bookserve", "train", self.name, "--data", params["data"], "--seed", str(params["seed"])]
        for name, value in self.defaults(params["data"]).items():
            if params[name] != value:
                words += ["-p", f"{name}={params[name]}"]
        return words

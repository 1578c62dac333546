"""Made: generated rows and labels become a task's data – seven in ten to train on, the rest to validate and test."""

from __future__ import annotations

import numpy as np

from bookserve.verb import Predict
from trainers.arrays import Columns, TrainingArrays
from trainers.datasets.generated import GeneratedData
from trainers.task import Data


def split_generated(verb: Predict, generated: GeneratedData, baseline: float) -> Data:
    """Pass all rows through the verb's Steps and divide them; ``baseline`` is the task's metric without skill.

    Examples keep rows only where a row is one text, picture or list of numbers; several named ones are told as tensors.
    """
    columns = verb.encode(generated.rows)
    x: Columns = {**columns} if len(columns) > 1 else next(iter(columns.values()))
    everything = TrainingArrays(x, generated.labels)
    count = len(everything)
    train, validation, test = (
        everything.take(part) for part in np.split(np.arange(count), [count * 7 // 10, count * 17 // 20])
    )
    few = np.array(generated.rows[-8:]) if len(columns) == 1 else np.array([], np.uint8)
    return Data(
        verb=verb,
        about=generated.about,
        train=train,
        validation=validation,
        test=test,
        rows=few,
        feeds={"serving_default": {name: column[-8:] for name, column in columns.items()}},
        baseline=baseline,
    )

"""Encode generated rows and split them: 70 % to train, 15 % to validate and 15 % to test."""

from __future__ import annotations

import numpy as np

from bookserve.verb import Predict
from trainers.datasets.arrays import Columns, TrainingArrays
from trainers.datasets.generated import GeneratedData
from trainers.task import Data


def split_generated(verb: Predict, generated: GeneratedData, baseline: float) -> Data:
    """Pass all rows through the verb's Steps and split them; ``baseline`` is the task's metric without skill.

    Example rows are kept only for verbs with a single input; a row with several inputs does not fit into one array.
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
        example_rows=few,
        example_feeds={"serving_default": {name: column[-8:] for name, column in columns.items()}},
        baseline=baseline,
    )

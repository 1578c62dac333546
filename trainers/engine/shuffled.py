# ruff: noqa: TID253 - imported only inside functions of the command line
"""Measure what a model has learned from an input: evaluate it with this input shuffled between the rows."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from trainers.datasets.arrays import LazilyEncoded, TrainingArrays
from trainers.engine import batches


def shuffled_figures(model: keras.Model, arrays: TrainingArrays, metric: str, batch_size: int) -> dict[str, float]:
    """The test figure ``metric`` with one input shuffled, as ``<metric>_shuffled_<input>`` for each input.

    A model that uses an input loses what it learned from it; with its only input shuffled, it falls to chance.
    """
    order = np.random.default_rng(0).permutation(len(arrays))
    columns = arrays.x if isinstance(arrays.x, dict) else {"": arrays.x}
    figures = {}
    for name, column in columns.items():
        mixed = (
            dataclasses.replace(column, rows=column.rows[order]) if isinstance(column, LazilyEncoded) else column[order]
        )
        x = {**columns, name: mixed} if name else mixed
        measured = batches.evaluate(model, dataclasses.replace(arrays, x=x), batch_size)
        figures[f"{metric}_shuffled_{name or 'input'}"] = measured[metric.removeprefix("test_")]
    return figures

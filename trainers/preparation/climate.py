"""Prepare Jena Climate: windows of past weather, and the temperature a day after each window (section 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bookserve.steps import Numbers, Scale, Standardise
from bookserve.verb import Predict
from trainers.datasets import jena
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.datasets.jena import TEMPERATURE
from trainers.preparation import baseline
from trainers.task import Data, Params

if TYPE_CHECKING:
    import keras

#: The ends of the training and the validation rows, as shares of the table: rows 200,000 and 300,000 (listing 6.34).
_ENDS = (200_000 / 420_551, 300_000 / 420_551)


def weather_windows(kind: Kind, params: Params) -> Data:
    """Windows of ``lookback`` rows (every ``step``-th of them), and the temperature ``delay`` rows after the window.

    The graph's input is ``weather`` float32 [batch, lookback / step, 14], standardised. Its output is ``temperature``
    float32 [batch, 1], also standardised; the verb converts it to °C. Mean and standard deviation are those of the
    training rows.
    """
    weather = jena.load(kind)
    table, lookback, delay = weather.table, params["lookback"], params["delay"]
    train_end, validation_end = (round(share * len(table)) for share in _ENDS)
    mean, deviation = (getattr(table[:train_end].astype(np.float64), name)(axis=0) for name in ("mean", "std"))
    verb = Predict(
        inputs={
            "weather": (
                Numbers("float32", (lookback // params["step"], table.shape[1])),
                Standardise(tuple(mean.tolist()), tuple(deviation.tolist())),
            )
        },
        outputs={"temperature": (Scale(float(deviation[TEMPERATURE]), float(mean[TEMPERATURE])),)},
    )
    # A view, not a copy: [rows, 14, lookback / step]. The last row of each window is always included.
    view = np.lib.stride_tricks.sliding_window_view(table, lookback, axis=0)[:, :, params["step"] - 1 :: params["step"]]
    view = view.swapaxes(1, 2)
    targets = ((table[:, TEMPERATURE] - mean[TEMPERATURE]) / deviation[TEMPERATURE]).astype(np.float32)

    def windows_between(start: int, end: int) -> TrainingArrays:
        """All windows that, with their targets, lie between the rows ``start`` and ``end``."""
        last = end - lookback - delay
        answers = targets[start + lookback - 1 + delay :][: last - start]
        return TrainingArrays(LazilyEncoded(view[start:last], verb.inputs["weather"]), answers[:, None])

    train, validation, test = (
        windows_between(*ends) for ends in ((0, train_end), (train_end, validation_end), (validation_end, len(table)))
    )
    rows = np.array(view[train_end : train_end + 16 * 100 : 100])
    return Data(
        verb=verb,
        about=weather.about,
        train=train,
        validation=validation,
        test=test,
        example_rows=rows,
        example_feeds={"serving_default": verb.encode(rows)},
        baseline=baseline.median_error(np.asarray(train.y), np.asarray(validation.y)),
    )


def validation_error(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """The mean absolute error on the validation rows: ``val_mae`` (standardised) and ``val_celsius`` (in °C)."""
    from trainers.engine.batches import evaluate

    if not (data.validation and isinstance(data.verb, Predict)):
        raise TypeError("a climate task needs validation rows and the verb predict")
    (scale,) = data.verb.outputs["temperature"]
    error = evaluate(model, data.validation, params["batch_size"])["loss"]
    return {"val_mae": error, "val_celsius": error * scale.factor if isinstance(scale, Scale) else error}

"""Predict tomorrow's temperature with a convnet followed by a GRU: section 6.4.4, listings 6.48–6.49.

Expected: a bit worse than the GRU with dropout, but much faster, so that it can use twice the time resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.climate import validation_error, weather_windows
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return weather_windows(kind, params)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((params["lookback"] // params["step"], 14), name="weather"),
            layers.Conv1D(32, 5, activation="relu"),
            layers.MaxPooling1D(3),
            layers.Conv1D(32, 5, activation="relu"),
            layers.GRU(32, dropout=0.1, recurrent_dropout=0.5),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mae")
    return model


TASK = Task(
    section="6.4.4",
    listings="6.48–6.49",
    summary="predicts tomorrow's temperature with a convnet followed by a GRU",
    dataset="jena",
    verb="predict",
    shown="a bit worse than jena_gru_dropout, much faster",
    metric="best_val_loss",
    params={
        "epochs": 20,
        "batch_size": 128,
        "learning_rate": 0.001,
        "steps_per_epoch": 500,
        "lookback": 720,
        "step": 3,
        "delay": 144,
        "jit_compile": True,
    },
    sample={"epochs": 3, "learning_rate": 0.002, "steps_per_epoch": 40, "lookback": 288, "jit_compile": False},
    data=data,
    build=build,
    conclude=validation_error,
)

"""Predict tomorrow's temperature with a convnet followed by a GRU: section 6.4.4, listings 6.48–6.49.

Expected: a bit worse than the GRU with dropout, but much faster, so that it can use twice the time resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.climate import CELSIUS, PARAMS, errors_in_celsius, weather_input, weather_windows
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
            weather_input(data),
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
        "jit_compile": True,
        "keep_best": True,
        **PARAMS,
        "lookback_hours": 120.0,
        "step_hours": 0.5,
    },
    sample={
        "epochs": 3,
        "learning_rate": 0.002,
        "steps_per_epoch": 40,
        "jit_compile": False,
        "keep_best": False,
        "lookback_hours": 48.0,
    },
    data=data,
    build=build,
    further=CELSIUS,
    conclude=errors_in_celsius,
)

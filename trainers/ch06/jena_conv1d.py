"""Predict tomorrow's temperature with a one-dimensional convnet: section 6.4.4, listing 6.47.

Expected: a validation error in the 0.40s, worse than the baseline: a convnet finds patterns anywhere in the window, but
here their position in time matters.
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
            layers.MaxPooling1D(3),
            layers.Conv1D(32, 5, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mae")
    return model


TASK = Task(
    section="6.4.4",
    listings="6.47",
    summary="predicts tomorrow's temperature with a one-dimensional convnet",
    dataset="jena",
    verb="predict",
    shown="validation error in the 0.40s",
    metric="best_val_loss",
    params={
        "epochs": 20,
        "batch_size": 128,
        "learning_rate": 0.001,
        "steps_per_epoch": 500,
        "jit_compile": True,
        "keep_best": True,
        **PARAMS,
    },
    sample={
        "epochs": 5,
        "learning_rate": 0.002,
        "steps_per_epoch": 60,
        "jit_compile": False,
        "keep_best": False,
        "lookback_hours": 120.0,
    },
    data=data,
    build=build,
    further=CELSIUS,
    conclude=errors_in_celsius,
)

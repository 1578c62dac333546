"""Predict tomorrow's temperature with a one-dimensional convnet: section 6.4.4, listing 6.47.

Expected: a validation error in the 0.40s, worse than the baseline: a convnet finds patterns anywhere in the window, but
here their position in time matters.
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
        "lookback": 1440,
        "step": 6,
        "delay": 144,
        "jit_compile": True,
    },
    sample={"epochs": 5, "learning_rate": 0.002, "steps_per_epoch": 60, "lookback": 720, "jit_compile": False},
    data=data,
    build=build,
    conclude=validation_error,
)

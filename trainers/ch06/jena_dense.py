"""Predict tomorrow's temperature with dense layers: section 6.3.4, listing 6.37.

Expected: a validation error near that of `jena_baseline`: flattening removes the order in time.
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
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mae")
    return model


TASK = Task(
    section="6.3.4",
    listings="6.37",
    summary="predicts tomorrow's temperature with dense layers",
    dataset="jena",
    verb="predict",
    shown="about as good as the baseline",
    metric="best_val_loss",
    params={
        "epochs": 20,
        "batch_size": 128,
        "learning_rate": 0.001,
        "steps_per_epoch": 500,
        "jit_compile": False,
        "keep_best": True,
        **PARAMS,
    },
    sample={
        "epochs": 5,
        "learning_rate": 0.002,
        "steps_per_epoch": 60,
        "jit_compile": False,
        "keep_best": False,
        "lookback_hours": 48.0,
    },
    data=data,
    build=build,
    further=CELSIUS,
    conclude=errors_in_celsius,
)

"""Predict tomorrow's temperature with a bidirectional GRU: section 6.3.8, listing 6.44.

Expected: about as good as `jena_gru`: weather that is long past says little about tomorrow.
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
            layers.Bidirectional(layers.GRU(32)),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mae")
    return model


TASK = Task(
    section="6.3.8",
    listings="6.44",
    summary="predicts tomorrow's temperature with a bidirectional GRU",
    dataset="jena",
    verb="predict",
    shown="about as good as jena_gru",
    metric="best_val_loss",
    params={
        "epochs": 40,
        "batch_size": 128,
        "learning_rate": 0.001,
        "steps_per_epoch": 500,
        "jit_compile": True,
        "keep_best": True,
        **PARAMS,
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

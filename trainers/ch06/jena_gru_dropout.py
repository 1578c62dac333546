"""Predict tomorrow's temperature with a GRU with recurrent dropout: section 6.3.6, listing 6.40.

Expected: no overfitting in the first thirty epochs, and about the error of `jena_gru`, but more stable.
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
            layers.GRU(32, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mae")
    return model


TASK = Task(
    section="6.3.6",
    listings="6.40",
    summary="predicts tomorrow's temperature with a GRU with dropout",
    dataset="jena",
    verb="predict",
    shown="steadier than jena_gru, as good",
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

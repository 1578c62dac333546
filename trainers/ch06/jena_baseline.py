"""Predict that the temperature will be the same in 24 hours: section 6.3.3, listings 6.28–6.36.

Expected: a validation error of 0.29, which is 2.57 °C; the other models of the section must beat it. Nothing is
trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.climate import (
    CELSIUS,
    PARAMS,
    errors_in_celsius,
    temperature_column,
    weather_input,
    weather_windows,
)
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return weather_windows(kind, params)


def build(data: Data, params: Params) -> keras.Model:
    import keras

    weather, place = weather_input(data), temperature_column(data)
    model = keras.Model(weather, weather[:, -1, place : place + 1])
    model.compile(loss="mae")
    return model


TASK = Task(
    section="6.3.3",
    listings="6.28–6.36",
    summary="predicts that tomorrow's temperature equals today's (a baseline)",
    dataset="jena",
    verb="predict",
    book={"val_mae": 0.29, "val_celsius": 2.57},
    metric="val_mae",
    params={"epochs": 0, "batch_size": 128, **PARAMS},
    sample={"lookback_hours": 48.0},
    data=data,
    build=build,
    further=CELSIUS,
    conclude=errors_in_celsius,
)

"""Predict values from rows of numbers, the book's template: section 9.1.6.

Expected: a mean absolute error below 0.5 on generated rows; predicting the medians gives 1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import Numbers
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    rows = generated.regression_rows(kind)
    verb = Predict(inputs={"features": (Numbers("float32", (16,)),)}, outputs={"values": ()})
    return split_generated(verb, rows, baseline.median_error(rows.labels[:, 0], rows.labels[:, 0]))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((16,), name="features"),
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(2),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="mse",
        metrics=["mae"],
    )
    return model


TASK = Task(
    section="9.1.6",
    listings="–",
    summary="the template for regression on rows of numbers",
    dataset="generated",
    verb="predict",
    shown="no activation",
    metric="test_mae",
    params={"epochs": 20, "batch_size": 32, "learning_rate": 0.001},
    sample={"learning_rate": 0.002},
    data=data,
    build=build,
)

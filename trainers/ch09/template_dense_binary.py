"""Classify rows of numbers into two classes, the book's template: section 9.1.6.

Expected: test accuracy above 0.9 on generated rows; chance is 0.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import BinaryLabel, Numbers
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    rows = generated.clusters(kind, 2)
    verb = Predict(
        inputs={"features": (Numbers("float32", (16,)),)}, outputs={"probability": (BinaryLabel(("first", "second")),)}
    )
    return split_generated(verb, rows, baseline.majority_accuracy(rows.labels))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((16,), name="features"),
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="9.1.6",
    listings="–",
    summary="the template for binary classification of rows of numbers",
    dataset="generated",
    verb="predict",
    shown="one sigmoid",
    metric="test_accuracy",
    params={"epochs": 20, "batch_size": 32, "learning_rate": 0.001},
    sample={"learning_rate": 0.002},
    data=data,
    build=build,
)

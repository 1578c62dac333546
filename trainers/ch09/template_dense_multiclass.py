"""Classify rows of numbers into many classes, the book's template: section 9.1.6.

Expected: test accuracy above 0.9 on generated rows of ten classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import Numbers, TopLabels
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    rows = generated.clusters(kind, 10)
    verb = Predict(
        inputs={"features": (Numbers("float32", (16,)),)},
        outputs={"probabilities": (TopLabels(tuple(f"kind {number}" for number in range(10))),)},
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
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="9.1.6",
    listings="–",
    summary="the template for multiclass classification of rows of numbers",
    dataset="generated",
    verb="predict",
    shown="a softmax",
    metric="test_accuracy",
    params={"epochs": 20, "batch_size": 32, "learning_rate": 0.001},
    sample={"learning_rate": 0.002},
    data=data,
    build=build,
)

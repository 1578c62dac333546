"""Predict several labels of rows of numbers, the book's template: section 9.1.6.

Expected: accuracy above 0.85 over all labels, on generated rows with one or two of ten labels; predicting no labels
gives 0.81.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import MultiLabel, Numbers
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    rows = generated.clusters(kind, 10, several=True)
    verb = Predict(
        inputs={"features": (Numbers("float32", (16,)),)},
        outputs={"probabilities": (MultiLabel(tuple(f"label {number}" for number in range(10))),)},
    )
    return split_generated(verb, rows, 1 - float(rows.labels.mean()))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((16,), name="features"),
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
    )
    return model


TASK = Task(
    section="9.1.6",
    listings="–",
    summary="the template for multilabel classification of rows of numbers",
    dataset="generated",
    verb="predict",
    shown="a sigmoid for each label",
    metric="test_accuracy",
    params={"epochs": 20, "batch_size": 32, "learning_rate": 0.001},
    sample={"learning_rate": 0.002},
    data=data,
    build=build,
)

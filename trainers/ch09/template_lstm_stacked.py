"""Predict several labels of sequences with three LSTMs, the book's template: section 9.1.6.

Expected: accuracy above 0.9 over all labels, on generated sequences of four rhythms; chance is 0.5.
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
    rows = generated.rhythm_sequences(kind, 4)
    verb = Predict(
        inputs={"signal": (Numbers("float32", (20, 4)),)},
        outputs={"probabilities": (MultiLabel(tuple(f"rhythm {number}" for number in range(4))),)},
    )
    return split_generated(verb, rows, max(float(rows.labels.mean()), 1 - float(rows.labels.mean())))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((20, 4), name="signal"),
            layers.LSTM(32, return_sequences=True),
            layers.LSTM(32, return_sequences=True),
            layers.LSTM(32),
            layers.Dense(4, activation="sigmoid"),
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
    summary="the template for multilabel classification of sequences, with three LSTMs",
    dataset="generated",
    verb="predict",
    shown="a sigmoid for each label",
    metric="test_accuracy",
    params={"epochs": 20, "batch_size": 32, "learning_rate": 0.001},
    sample={"epochs": 10, "learning_rate": 0.005},
    data=data,
    build=build,
)

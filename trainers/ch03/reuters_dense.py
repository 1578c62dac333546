"""Classify newswires by topic, one of 46: section 3.5, listings 3.10–3.19.

Expected: test accuracy 0.79 on Reuters after nine epochs of a second on 2 cores; random topics give 0.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.newswires import multi_hot
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return multi_hot(kind, params)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((params["words"],), name="words"),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(46, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="3.5",
    listings="3.10–3.19",
    summary="classifies newswires by topic with dense layers",
    dataset="reuters",
    verb="predict",
    book={"test_accuracy": 0.7898},
    metric="test_accuracy",
    params={"epochs": 9, "batch_size": 512, "learning_rate": 0.001, "words": 10_000, "held_out": 1_000},
    sample={"epochs": 12, "batch_size": 32, "words": 1_000, "held_out": 300},
    data=data,
    build=build,
)

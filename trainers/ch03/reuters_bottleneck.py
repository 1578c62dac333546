"""Classify newswires by topic with a hidden layer that is too narrow: section 3.5.7, listing 3.20.

Expected: validation accuracy near 0.71 on Reuters, well below `reuters_dense`: four units cannot represent 46 topics.
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
            layers.Dense(4, activation="relu"),
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
    section="3.5.7",
    listings="3.20",
    summary="classifies newswires by topic with a hidden layer that is too narrow (an information bottleneck)",
    dataset="reuters",
    verb="predict",
    book={"best_val_accuracy": 0.71},
    metric="best_val_accuracy",
    params={"epochs": 20, "batch_size": 128, "learning_rate": 0.001, "words": 10_000, "held_out": 1_000},
    sample={"epochs": 20, "batch_size": 32, "words": 1_000, "held_out": 300},
    data=data,
    build=build,
)

"""Classify film reviews with dense layers and L2 regularisation: section 4.4.2, listing 4.6.

Expected: less overfitting than the same network without regularisation (figure 4.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.reviews import multi_hot
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return multi_hot(kind, params)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers, regularizers

    model = keras.Sequential(
        [
            keras.Input((params["words"],), name="words"),
            layers.Dense(16, activation="relu", kernel_regularizer=regularizers.L2(params["l2"])),
            layers.Dense(16, activation="relu", kernel_regularizer=regularizers.L2(params["l2"])),
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
    section="4.4.2",
    listings="4.6",
    summary="classifies film reviews as positive or negative with dense layers and L2 regularisation",
    dataset="imdb",
    verb="predict",
    shown="resists overfitting (figure 4.7)",
    metric="best_val_accuracy",
    params={
        "epochs": 20,
        "batch_size": 512,
        "learning_rate": 0.001,
        "words": 10_000,
        "held_out": 10_000,
        "l2": 0.001,
    },
    sample={"epochs": 8, "batch_size": 32, "words": 200, "held_out": 400},
    data=data,
    build=build,
)

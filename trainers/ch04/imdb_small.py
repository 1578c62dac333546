"""Classify film reviews with dense layers of less capacity: section 4.4.1, listing 4.4.

Expected: the validation loss begins to rise later than with 16 units, and more slowly (figure 4.4).
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
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((params["words"],), name="words"),
            layers.Dense(4, activation="relu"),
            layers.Dense(4, activation="relu"),
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
    section="4.4.1",
    listings="4.4",
    summary="classifies film reviews as positive or negative with dense layers of less capacity",
    dataset="imdb",
    verb="predict",
    shown="overfits later than 16 units (figure 4.4)",
    metric="best_val_accuracy",
    params={
        "epochs": 20,
        "batch_size": 512,
        "learning_rate": 0.001,
        "words": 10_000,
        "held_out": 10_000,
    },
    sample={"epochs": 8, "batch_size": 32, "words": 200, "held_out": 400},
    data=data,
    build=build,
)

"""Classify film reviews with dense layers of far too much capacity: section 4.4.1, listing 4.5.

Expected: the validation loss is lowest after one or two epochs, then rises fast (figure 4.5).
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
            layers.Dense(512, activation="relu"),
            layers.Dense(512, activation="relu"),
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
    listings="4.5",
    summary="classifies film reviews as positive or negative with dense layers of far too much capacity",
    dataset="imdb",
    verb="predict",
    shown="overfits after one epoch (figure 4.5)",
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

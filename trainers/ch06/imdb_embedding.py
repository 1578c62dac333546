"""Classify film reviews with a word embedding that is learned with the task: section 6.1.2, listings 6.5–6.7.

Expected: validation accuracy 0.76 on IMDB from the last twenty words of a review, in a few seconds an epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.reviews import padded_tokens
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return padded_tokens(kind, params)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((params["length"],), dtype="int32", name="tokens"),
            layers.Embedding(params["words"], 8),
            layers.Flatten(),
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
    section="6.1.2",
    listings="6.5–6.7",
    summary="classifies film reviews as positive or negative with a word embedding learned with the task",
    dataset="imdb",
    verb="predict",
    book={"best_val_accuracy": 0.76},
    metric="best_val_accuracy",
    params={
        "epochs": 10,
        "batch_size": 32,
        "learning_rate": 0.001,
        "words": 10_000,
        "length": 20,
        "jit_compile": False,
    },
    sample={"epochs": 6, "batch_size": 32, "words": 200, "learning_rate": 0.01},
    data=data,
    build=build,
)

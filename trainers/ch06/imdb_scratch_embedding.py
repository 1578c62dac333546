"""Classify film reviews with word vectors learned from 200 reviews: section 6.1.3, listing 6.16.

Expected: validation accuracy in the mid 0.50s, as 200 reviews are few. Compare with `imdb_glove`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.raw_texts import small_review_set
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return small_review_set(kind, params)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((params["length"],), dtype="int32", name="tokens"),
            layers.Embedding(params["words"], 100),
            layers.Flatten(),
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
    section="6.1.3",
    listings="6.16",
    summary="classifies film reviews as positive or negative with word vectors learned from few reviews",
    dataset="imdb_texts",
    verb="predict",
    shown="validation accuracy in the mid 0.50s",
    metric="best_val_accuracy",
    params={
        "epochs": 20,
        "batch_size": 32,
        "learning_rate": 0.001,
        "words": 10_000,
        "length": 100,
        "rows": 200,
        "held_out": 10_000,
    },
    sample={"words": 200, "length": 40},
    data=data,
    build=build,
)

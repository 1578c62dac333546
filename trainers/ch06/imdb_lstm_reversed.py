"""Classify film reviews with an LSTM that reads them backwards: section 6.3.8, listing 6.42.

Expected: about as good as the LSTM that reads forwards; for such texts, the order of the words matters little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.reviews import padded_tokens
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return padded_tokens(kind, params, reverse=True)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((params["length"],), dtype="int32", name="tokens"),
            layers.Embedding(params["words"], 128),
            layers.LSTM(32),
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
    section="6.3.8",
    listings="6.42",
    summary="classifies film reviews as positive or negative with an LSTM that reads them backwards",
    dataset="imdb",
    verb="predict",
    shown="about as good as imdb_lstm",
    metric="best_val_accuracy",
    params={
        "epochs": 10,
        "batch_size": 128,
        "learning_rate": 0.001,
        "words": 10_000,
        "length": 500,
        "jit_compile": True,
    },
    sample={"epochs": 4, "batch_size": 32, "words": 200, "length": 100, "learning_rate": 0.005},
    data=data,
    build=build,
)

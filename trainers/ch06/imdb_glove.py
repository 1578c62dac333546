"""Classify film reviews with GloVe's word vectors, trained on 200 reviews: section 6.1.3, listings 6.8–6.15, 6.17–6.18.

Expected: test accuracy near 0.58 with `glove.6B`, as 200 reviews are few. `-p weights=FILE` takes a file of vectors,
and `-p rows=1000` more reviews. Words that have no vector stay zeros; `words_without_vector` says how many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from bookserve.steps import Words
from bookserve.verb import Predict
from trainers.datasets import glove
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

    words, _ = cast(Predict, data.verb).inputs["tokens"]
    entries = cast(Words, words).vocabulary.entries
    vectors = np.zeros((params["words"], glove.DIMENSIONS), np.float32)
    vectors[: len(entries)] = glove.load_vectors(params["weights"], entries)
    model = keras.Sequential(
        [
            keras.Input((params["length"],), dtype="int32", name="tokens"),
            layers.Embedding(len(vectors), glove.DIMENSIONS, weights=[vectors], trainable=False),
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


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """How many words of the vocabulary the file of vectors does not have; their vectors are zeros."""
    words, _ = cast(Predict, data.verb).inputs["tokens"]
    known = cast(Words, words).vocabulary.entries[1:]  # the first entry is padding
    vectors = np.asarray(model.layers[0].embeddings)[1 : len(known) + 1]
    return {"words_without_vector": float((~vectors.any(axis=1)).sum())}


TASK = Task(
    section="6.1.3",
    listings="6.8–6.15, 6.17–6.18",
    summary="classifies film reviews as positive or negative with GloVe's word vectors, trained on few reviews",
    dataset="imdb_texts",
    verb="predict",
    book={"test_accuracy": 0.58},
    metric="test_accuracy",
    params={
        "epochs": 20,
        "batch_size": 32,
        "learning_rate": 0.001,
        "words": 10_000,
        "length": 100,
        "rows": 200,
        "held_out": 10_000,
        "weights": "glove.6B",
    },
    sample={"words": 200, "length": 40, "weights": "sample"},
    data=data,
    build=build,
    conclude=conclude,
)

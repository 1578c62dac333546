"""Decide whether two sentences are both about one topic, with one LSTM that reads each of them: section 7.1.5.

Expected: test accuracy above 0.9 on generated pairs of sentences of 128-dimensional word vectors; chance is 0.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import BinaryLabel, Numbers
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    sentences = generated.sentence_pairs(kind)
    words = Numbers("float32", (params["length"], 128))
    verb = Predict(
        inputs={"left": (words,), "right": (words,)},
        outputs={"probability": (BinaryLabel(("not both", "both")),)},
    )
    return split_generated(verb, sentences, baseline.majority_accuracy(sentences.labels))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    left, right = (keras.Input((params["length"], 128), name=side) for side in ("left", "right"))
    lstm = layers.LSTM(32)
    merged = layers.concatenate([lstm(left), lstm(right)])
    model = keras.Model({"left": left, "right": right}, layers.Dense(1, activation="sigmoid")(merged))
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="7.1.5",
    listings="–",
    summary="decides whether two sentences are about one topic, with one LSTM for both",
    dataset="generated",
    verb="predict",
    shown="a layer that is used twice",
    metric="test_accuracy",
    params={"epochs": 10, "batch_size": 32, "learning_rate": 0.001, "length": 9},
    sample={"epochs": 6, "learning_rate": 0.003},
    data=data,
    build=build,
)

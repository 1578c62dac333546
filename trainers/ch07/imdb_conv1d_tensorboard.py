"""Classify film reviews with a one-dimensional convnet, monitored by TensorBoard: section 7.2.2, listings 7.7–7.9.

Expected: a run whose folder ``tensorboard`` has curves, histograms of the weights, and the word vectors. To see them:
tensorboard --logdir runs/imdb_conv1d_tensorboard. The last layer is a sigmoid, which binary cross-entropy needs;
listing 7.7 omits it.
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
            layers.Embedding(params["words"], 128, name="embed"),
            layers.Conv1D(32, 7, activation="relu"),
            layers.MaxPooling1D(5),
            layers.Conv1D(32, 7, activation="relu"),
            layers.GlobalMaxPooling1D(),
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
    section="7.2.2",
    listings="7.7–7.9",
    summary="classifies film reviews as positive or negative with a one-dimensional convnet, monitored by TensorBoard",
    dataset="imdb",
    verb="predict",
    shown="curves, histograms and embeddings in TensorBoard",
    metric="best_val_accuracy",
    params={
        "epochs": 20,
        "batch_size": 128,
        "learning_rate": 0.001,
        "words": 2_000,
        "length": 500,
        "histograms": 1,
        "jit_compile": True,
    },
    sample={"epochs": 3, "batch_size": 32, "words": 200, "length": 100, "jit_compile": False},
    data=data,
    build=build,
)

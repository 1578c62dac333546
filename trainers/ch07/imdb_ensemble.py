"""Classify film reviews with an ensemble of four models, weighted by their validation results: section 7.3.3.

Expected: better test accuracy than the best member. The members share no weights and have separate losses, so training
them together gives the same as training each alone. Nelder–Mead then optimises the weights of the members.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.ch06 import imdb_conv1d, imdb_embedding, imdb_lstm, imdb_simple_rnn
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.preparation.reviews import padded_tokens
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

#: Models that are as different as possible: one of the last words, two recurrent ones, one of short phrases.
MEMBERS = {"last_words": imdb_embedding, "simple_rnn": imdb_simple_rnn, "lstm": imdb_lstm, "conv1d": imdb_conv1d}


def data(kind: Kind, params: Params) -> Data:
    reviews = padded_tokens(kind, params)
    return dataclasses.replace(
        reviews,
        train=_for_all(reviews.train),
        validation=reviews.validation and _for_all(reviews.validation),
        test=reviews.test and _for_all(reviews.test),
    )


def _for_all(arrays: TrainingArrays) -> TrainingArrays:
    """The same labels for each member and for the weighted mean."""
    return TrainingArrays(arrays.x, {name: np.asarray(arrays.y) for name in (*MEMBERS, "probability")})


def vote_layer() -> type[keras.layers.Layer]:
    """The class of the layer that computes the weighted mean of the members' probabilities; its weights sum to one."""
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable("bookserve")
    class Vote(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shapes: Any) -> None:
            self.shares = self.add_weight(
                (len(shapes),), keras.initializers.Constant(1 / len(shapes)), trainable=False, name="shares"
            )

        def call(self, probabilities: Any) -> Any:
            return ops.sum(ops.concatenate(probabilities, axis=1) * self.shares, axis=1, keepdims=True)

    return Vote


def build(data: Data, params: Params) -> keras.Model:
    import keras

    tokens = keras.Input((params["length"],), dtype="int32", name="tokens")
    votes = {}
    for name, member in MEMBERS.items():
        length = min(params["length"], member.TASK.params["length"])
        network = keras.models.clone_model(member.build(data, {**params, "length": length}))  # not compiled
        votes[name] = network(tokens[:, -length:])
    outputs = {**votes, "probability": vote_layer()(name="vote")(list(votes.values()))}
    model = keras.Model(tokens, outputs)
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss=dict.fromkeys(MEMBERS, "binary_crossentropy"),
        metrics={name: ["accuracy"] for name in outputs},
    )
    return model


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    import keras

    return {"serving_default": keras.Model({"tokens": model.inputs[0]}, {"probability": model.output["probability"]})}


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """Set the members' weights; return them, and by how much the test accuracy exceeds that of the best member."""
    from scipy.optimize import minimize
    from scipy.special import softmax, xlogy

    from trainers.engine.batches import EvaluationBatches

    def votes(arrays: TrainingArrays) -> tuple[np.ndarray, np.ndarray]:
        outputs = model.predict(EvaluationBatches(arrays, params["batch_size"]), verbose=0)
        labels = arrays.y["probability"] if isinstance(arrays.y, dict) else arrays.y
        return np.concatenate([outputs[name] for name in MEMBERS], axis=1), np.asarray(labels)

    def loss(logits: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> float:
        voted = np.clip(probabilities @ softmax(logits), 1e-7, 1 - 1e-7)
        return float(-(xlogy(labels, voted) + xlogy(1 - labels, 1 - voted)).mean())

    if not (data.validation and data.test):
        raise TypeError("the weights of the members need validation rows, and the gain needs test rows")
    found = minimize(loss, np.zeros(len(MEMBERS)), votes(data.validation), method="Nelder-Mead")
    shares = softmax(found.x)
    model.get_layer("vote").shares.assign(shares)
    probabilities, labels = votes(data.test)
    accuracy = ((np.c_[probabilities, probabilities @ shares] > 0.5) == labels[:, None]).mean(axis=0)
    named = {f"share_{name}": float(share) for name, share in zip(MEMBERS, shares, strict=True)}
    return {**named, "test_gain": float(accuracy[-1] - accuracy[:-1].max())}


TASK = Task(
    section="7.3.3",
    listings="–",
    summary="classifies film reviews as positive or negative with a weighted ensemble of four models",
    dataset="imdb",
    verb="predict",
    shown="beats its best member",
    metric="test_probability_accuracy",
    params={
        "epochs": 6,
        "batch_size": 128,
        "learning_rate": 0.001,
        "words": 10_000,
        "length": 500,
        "jit_compile": True,
        "keep_best": True,
    },
    sample={"epochs": 4, "batch_size": 32, "words": 200, "length": 100, "learning_rate": 0.003, "jit_compile": False},
    data=data,
    build=build,
    graphs=graphs,
    conclude=conclude,
    custom=lambda: {"Vote": vote_layer()},
)

"""An embedding learns from an id that occurs several times in a batch as from the sum of its gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest

from tests.trainers.tiny_task import TINY
from trainers.engine.devices import Devices
from trainers.task import Data, Params

#: Word 1 occurs five times in this batch, word 4 never.
WORDS = np.array([[1, 1, 2], [1, 3, 1], [2, 1, 0]])
TARGETS = np.array([[1.0], [-2.0], [0.5]], np.float32)


def embedded(optimizer: keras.Optimizer) -> keras.Model:
    """A model that looks its words up in a table."""
    inputs = keras.Input((3,), dtype="int32")
    return compiled(inputs, keras.layers.Embedding(5, 2)(inputs), optimizer)


def multiplied(optimizer: keras.Optimizer) -> keras.Model:
    """The same model with a product in place of the table: its gradient is one array on every backend."""
    inputs = keras.Input((3, 5))
    return compiled(inputs, keras.layers.Dense(2, use_bias=False)(inputs), optimizer)


def compiled(inputs: Any, vectors: Any, optimizer: keras.Optimizer) -> keras.Model:
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(vectors))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("rmsprop", {}),
        ("adam", {}),
        ("nadam", {}),
        ("adagrad", {}),
        ("sgd", {"momentum": 0.9}),
        ("rmsprop", {"clipnorm": 0.1}),
    ],
)
def test_repeated_words(optimizer: str, settings: dict[str, float], precision: str) -> None:
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((5, 2), (6, 1), (1,))]

    def train(build: Any, x: np.ndarray) -> list[np.ndarray]:
        def build_task(data: Data, params: Params) -> keras.Model:
            return build(keras.optimizers.get({"class_name": optimizer, "config": {"learning_rate": 0.05, **settings}}))

        params = TINY.defaults("sample")
        task = dataclasses.replace(TINY, build=build_task)
        model = Devices(precision=precision).build_model(task, TINY.data("sample", params), params)
        model.set_weights(start)
        model.fit(x, TARGETS, batch_size=3, epochs=4, shuffle=False, verbose=0)
        return [np.asarray(weights) for weights in model.get_weights()]

    table, *rest = train(embedded, WORDS)
    expected, *expected_rest = train(multiplied, np.eye(5, dtype=np.float32)[WORDS])
    bound = 1e-5 if precision == "float32" else 2e-2
    np.testing.assert_allclose(table, expected, atol=bound)
    np.testing.assert_allclose(rest[0], expected_rest[0], atol=bound)
    assert np.array_equal(table[4], start[0][4])  # a word that no row has
    assert not np.allclose(table[1], start[0][1], atol=0.05)

"""An input that a model uses loses its figure when it is shuffled; one that it ignores does not."""

from __future__ import annotations

import keras
import numpy as np

from trainers.datasets.arrays import Column, LazilyEncoded, TrainingArrays
from trainers.engine.shuffled import shuffled_figures


def test_only_the_input_that_decides_loses_its_figure() -> None:
    used, ignored = keras.Input((1,), name="used"), keras.Input((1,), name="ignored")
    answer = keras.layers.Lambda(lambda columns: columns[0] + 0 * columns[1])([used, ignored])
    model = keras.Model({"used": used, "ignored": ignored}, answer)
    model.compile(loss="mse", metrics=[keras.metrics.BinaryAccuracy(name="accuracy")])
    labels = np.arange(400) % 2
    columns: dict[str, Column] = {
        "used": labels[:, None].astype(np.float32),
        "ignored": LazilyEncoded(np.ones((400, 1), np.float32), ()),
    }
    found = shuffled_figures(model, TrainingArrays(columns, labels), "test_accuracy", 32)
    assert found["test_accuracy_shuffled_ignored"] == 1
    assert 0.3 < found["test_accuracy_shuffled_used"] < 0.7

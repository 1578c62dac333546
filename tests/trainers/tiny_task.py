"""A task that trains in a moment, and helpers to start and to interrupt its training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve.run import Run
from bookserve.steps import Numbers
from bookserve.verb import Predict
from trainers import training
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.task import Data, Params, Task

EPOCHS = 5


def data(kind: Kind, params: Params) -> Data:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    y = (x @ [1, -2, 3, 0]).astype(np.float32)
    verb = Predict(inputs={"x": (Numbers("float32", (4,)),)}, outputs={"y": ()})
    arrays = TrainingArrays(x, y)
    return Data(verb, "sums", arrays, arrays, arrays, x[:8], {"serving_default": {"x": x[:8]}})


def build(data: Data, params: Params) -> keras.Model:
    inputs = keras.Input((4,), name="x")
    x = keras.layers.Dropout(0.2)(keras.layers.Dense(8, activation="relu")(inputs))  # its random state is resumed too
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mse")
    return model


PARAMS = {"epochs": EPOCHS, "batch_size": 10, "learning_rate": 0.01, "jit_compile": False}
TINY = Task(
    section="0.1",
    listings="",
    summary="a sum",
    dataset="",
    verb="predict",
    metric="test_loss",
    params=PARAMS,
    data=data,
    build=build,
    name="tiny",
)


def start_tiny(runs: Path, report: Callable[[str], None] = lambda line: None, *, seed: int = 3, **params: Any) -> Run:
    """Train the tiny task with these parameters in place of its defaults."""
    values = {**TINY.defaults("sample"), **params}
    return training.start_training(TINY, "sample", values, seed=seed, runs=runs, report=report)


def interrupt_after(epoch: int) -> Callable[[str], None]:
    """A ``report`` function that raises KeyboardInterrupt after the given epoch."""

    def report(line: str) -> None:
        if line.startswith(f"epoch {epoch}/"):
            raise KeyboardInterrupt

    return report

"""Measure how well a model of MNIST reads other people's digits: drawn ones, and those of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bookserve.steps import Rows
from trainers.datasets.drawn_digits import drawn_digits
from trainers.datasets.mnist import scikit_learn_digits
from trainers.task import Data, Params

if TYPE_CHECKING:
    import keras

#: How many pictures of each digit are drawn in each way.
_EACH = 4


def own_digit_figures(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """``drawn_accuracy`` and ``scikit_learn_accuracy`` of a classifier of digits; none if it was not trained on MNIST.

    The rows pass the verb's Steps, as a user's do. No model is chosen by these figures.
    """
    if params["data"] != "real":
        return {}  # the sample data are scikit-learn's digits
    _, drawn, pictures = zip(*drawn_digits(_EACH), strict=True)
    small = scikit_learn_digits()
    return {
        "drawn_accuracy": _accuracy(model, data, pictures, np.array(drawn)),
        "scikit_learn_accuracy": _accuracy(model, data, list(small.rows), small.labels),
    }


def _accuracy(model: keras.Model, data: Data, rows: Rows, labels: np.ndarray) -> float:
    (column,) = data.verb.encode(rows).values()  # type: ignore[union-attr]
    return float((model.predict(column, verbose=0).argmax(axis=1) == labels).mean())

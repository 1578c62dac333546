"""Train a model of MNIST for other people's digits, and measure how well it reads drawn ones and scikit-learn's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.steps import Rows
from bookserve.verb import Predict
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays
from trainers.datasets.dataset import Split
from trainers.datasets.drawn_digits import drawn_digits
from trainers.datasets.mnist import scikit_learn_digits
from trainers.preparation.augmentation import random_handwriting
from trainers.task import Data, Params

if TYPE_CHECKING:
    import keras

#: How many pictures of each digit are drawn in each way.
_EACH = 4


def training_digits(digits: Split, verb: Predict, other_hands: float) -> TrainingArrays:
    """Pictures and labels of MNIST after the verb's Steps; in each epoch, a share ``other_hands`` in another hand."""
    if not other_hands:
        return TrainingArrays(verb.encode(digits.rows)["image"], digits.labels)
    augment = random_handwriting(share=other_hands)
    return TrainingArrays(LazilyEncoded(np.asarray(digits.rows), verb.inputs["image"], augment), digits.labels)


def own_digit_figures(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """``drawn_accuracy`` and ``scikit_learn_accuracy`` of a classifier of digits; none if it was not trained on MNIST.

    The rows pass the verb's Steps, as a user's do. No model is chosen by these figures.
    """
    if params["data"] != "real" or not isinstance(data.verb, Predict):
        return {}  # the sample data are scikit-learn's digits
    _, drawn, pictures = zip(*drawn_digits(_EACH), strict=True)
    small = scikit_learn_digits()
    return {
        "drawn_accuracy": _accuracy(model, data.verb, pictures, np.array(drawn)),
        "scikit_learn_accuracy": _accuracy(model, data.verb, list(small.rows), small.labels),
    }


def _accuracy(model: keras.Model, verb: Predict, rows: Rows, labels: np.ndarray) -> float:
    read = {index: column for index, row in enumerate(rows) if (column := _encode(verb, row)) is not None}
    answers = model.predict(np.concatenate(list(read.values())), verbose=0).argmax(axis=1)
    return float((answers == labels[list(read)]).sum() / len(rows))


def _encode(verb: Predict, row: Any) -> np.ndarray | None:
    """The network's input for one picture; None where the Steps refuse it, which counts as a wrong answer."""
    try:
        (column,) = verb.encode([row]).values()
    except InvalidInput:
        return None
    return column

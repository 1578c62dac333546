"""Prepare the book's photos for networks of ImageNet's 1,000 classes: section 5.4.3.

The sample has no such weights: a small network learns in seconds to distinguish pieces of two photos, which replace the
class "African elephant" and the one after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bookserve.steps import Image, Step, TopLabels
from bookserve.verb import Predict
from trainers.datasets import imagenet, photos
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.task import Data

if TYPE_CHECKING:
    import keras

#: Index of "African elephant" among ImageNet's classes.
AFRICAN_ELEPHANT = 386
#: Number of pieces of each photo that the sample model is trained on.
PIECES = 100


def load(kind: Kind, size: int, pixels: Step) -> Data:
    """Photos of ``size`` × ``size`` pixels, to which ``pixels`` is applied; nothing to train on if the data is real.

    The graph's input is ``image`` float32 [batch, size, size, 3], its output ``probabilities`` float32 [batch, 1000].
    """
    shown = photos.load(kind)
    labels = imagenet.class_names() if kind == "real" else _labels(list(shown))
    verb = Predict(inputs={"image": (Image(size, size), pixels)}, outputs={"probabilities": (TopLabels(labels, k=5),)})
    rows = np.stack([Image(size, size)([photo])[0] for photo in shown.values()])
    few = np.resize(rows, (8, size, size, 3))
    return Data(
        verb=verb,
        about=f"photos: {', '.join(shown)}",
        train=_pieces(list(shown.values()), verb)
        if kind == "sample"
        else TrainingArrays(rows[:0], np.zeros(0, np.int64)),
        validation=None,
        test=None,
        example_rows=few,
        example_feeds={"serving_default": verb.encode(few)},
        baseline=1 / 1000 if kind == "real" else 1 / 2,
    )


def elephant_probability(model: keras.Model, data: Data) -> dict[str, float]:
    """The probability of "African elephant" for the first photo (in the sample: of the class that replaces it)."""
    probabilities = model.predict(data.example_feeds["serving_default"]["image"][:1], verbose=0)
    return {"elephant_probability": float(probabilities[0, AFRICAN_ELEPHANT])}


def _labels(names: list[str]) -> tuple[str, ...]:
    """The names of a thousand classes, of which only the sample's two have real names."""
    labels = [f"class {number}" for number in range(1000)]
    labels[AFRICAN_ELEPHANT : AFRICAN_ELEPHANT + len(names)] = names
    return tuple(labels)


def _pieces(shown: list[np.ndarray], verb: Predict) -> TrainingArrays:
    """Random square pieces of the photos, and the class of each."""
    rng = np.random.default_rng(0)
    pieces, places = [], []
    for place, photo in enumerate(shown, AFRICAN_ELEPHANT):
        for side in rng.integers(100, min(photo.shape[:2]), PIECES):
            top, left = (rng.integers(0, length - side) for length in photo.shape[:2])
            pieces.append(photo[top : top + side, left : left + side])
            places.append(place)
    return TrainingArrays(verb.encode(pieces)["image"], np.array(places, np.int64))

"""Classify photos with VGG16 and its published weights for ImageNet's 1,000 classes: section 5.4.3, listings 5.40–5.41.

Expected: African elephant with probability 0.909 for the book's photo of elephants. Nothing is trained: the weights are
published. The sample has no such weights: a narrow network learns in seconds to distinguish pieces of two photos, which
replace the class "African elephant" and the one after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bookserve.steps import Image, ImageNetMeans, TopLabels
from bookserve.verb import Predict
from trainers.datasets import imagenet, photos
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

#: Index of "African elephant" among ImageNet's classes.
AFRICAN_ELEPHANT = 386
#: Number of pieces of each photo that the sample model is trained on.
PIECES = 100


def data(kind: Kind, params: Params) -> Data:
    size = params["size"]
    shown = photos.load(kind)
    labels = imagenet.class_names() if kind == "real" else _labels(list(shown))
    verb = Predict(
        inputs={"image": (Image(size, size), ImageNetMeans())},
        outputs={"probabilities": (TopLabels(labels, k=5),)},
    )
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


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    from trainers.networks.vgg import build_vgg

    path = imagenet.find_weights("vgg16", params["weights"])
    network = build_vgg("vgg16", "none", (params["size"], params["size"]), params["width"])
    x = layers.Flatten(name="flatten")(network.output)
    x = layers.Dense(round(4096 * params["width"]), activation="relu", name="fc1")(x)
    x = layers.Dense(round(4096 * params["width"]), activation="relu", name="fc2")(x)
    x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    model = keras.Model(network.inputs[0], x)
    if path:
        model.load_weights(path)
    model.compile(keras.optimizers.RMSprop(params["learning_rate"]), "sparse_categorical_crossentropy")
    return model


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """The probability of "African elephant" for the first photo (in the sample: of the class that replaces it)."""
    probabilities = model.predict(data.example_feeds["serving_default"]["image"][:1], verbose=0)
    return {"elephant_probability": float(probabilities[0, AFRICAN_ELEPHANT])}


TASK = Task(
    section="5.4.3",
    listings="5.40–5.41",
    summary="classifies photos into ImageNet's 1,000 classes with VGG16",
    dataset="photos",
    verb="predict",
    book={"elephant_probability": 0.909},
    metric="elephant_probability",
    params={"epochs": 0, "batch_size": 8, "learning_rate": 2e-4, "size": 224, "weights": "imagenet", "width": 1.0},
    sample={"epochs": 5, "weights": "none", "width": 0.125, "size": 96},
    data=data,
    build=build,
    conclude=conclude,
)

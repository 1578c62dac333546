"""Classify photos with VGG16 and its published weights for ImageNet's 1,000 classes: section 5.4.3, listings 5.40–5.41.

Expected: African elephant with probability 0.909 for the book's photo of elephants. Nothing is trained: the weights are
published. The sample has no such weights: a narrow network learns in seconds to distinguish pieces of two photos, which
replace the class "African elephant" and the one after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import ImageNetMeans
from trainers.datasets import imagenet
from trainers.datasets.dataset import Kind
from trainers.preparation import imagenet_photos
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return imagenet_photos.load(kind, params["size"], ImageNetMeans())


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
    return imagenet_photos.elephant_probability(model, data)


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

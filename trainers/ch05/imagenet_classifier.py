"""Classify photos with a MobileNet and its published weights for ImageNet's 1,000 classes: section 5.4.3, listing 5.41.

Expected: African elephant with probability 0.90 for the book's photo of elephants; the book's VGG16 gives 0.909
(``imagenet_vgg16``), with 40 times as many weights. Nothing is trained: the weights are published.
``-p network=mobilenet -p alpha=0.25 -p size=128`` takes the smallest network, ``-p weights=FILE`` a local file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import Scale
from trainers.datasets.dataset import Kind
from trainers.preparation import imagenet_photos
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return imagenet_photos.load(kind, params["size"], Scale(1 / 127.5, -1))


def build(data: Data, params: Params) -> keras.Model:
    import keras

    from trainers.networks.mobilenet import build_mobilenet

    model = build_mobilenet(params["network"], params["alpha"], params["size"], params["weights"])
    model.compile(keras.optimizers.Adam(params["learning_rate"]), "sparse_categorical_crossentropy")
    return model


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    return imagenet_photos.elephant_probability(model, data)


TASK = Task(
    section="5.4.3",
    listings="5.40–5.44",
    summary="classifies photos into ImageNet's 1,000 classes with a MobileNet",
    dataset="photos",
    verb="predict",
    shown="0.909 with VGG16",
    metric="elephant_probability",
    params={
        "epochs": 0,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "network": "mobilenet_v2",
        "alpha": 1.0,
        "size": 224,
        "weights": "imagenet",
    },
    sample={"epochs": 8, "network": "mobilenet", "alpha": 0.25, "size": 96, "weights": "none"},
    data=data,
    build=build,
    conclude=conclude,
)

"""Classify augmented photos of cats and dogs with dense layers on a frozen VGG16: section 5.3.1, listings 5.20–5.21.

Expected: validation accuracy near 0.90 with ImageNet's weights; use a GPU. 16,812,353 parameters; the 2,097,665 of the
dense layers are trained. `-p weights=FILE.h5` takes a local file. The sample uses a narrow base with random weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.dataset import Kind
from trainers.preparation.cats_dogs import AUGMENTATION, photo_data
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return photo_data(kind, params, AUGMENTATION)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    from trainers.networks.vgg import build_vgg

    network = build_vgg("vgg16", params["weights"], (params["size"], params["size"]), params["width"], params["blocks"])
    network.trainable = False
    model = keras.Sequential(
        [
            keras.Input((params["size"], params["size"], 3), name="image"),
            network,
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="5.3.1",
    listings="5.20–5.21",
    summary="classifies photos as cat or dog with dense layers on a frozen VGG16, with data augmentation",
    dataset="cats_dogs",
    verb="predict",
    book={"best_val_accuracy": 0.90},
    metric="best_val_accuracy",
    params={
        "epochs": 30,
        "batch_size": 20,
        "learning_rate": 2e-5,
        "steps_per_epoch": 100,
        "size": 150,
        "weights": "imagenet",
        "width": 1.0,
        "blocks": 5,
    },
    sample={
        "epochs": 10,
        "learning_rate": 0.00005,
        "steps_per_epoch": 20,
        "size": 64,
        "weights": "none",
        "width": 0.25,
        "blocks": 3,
    },
    data=data,
    build=build,
)

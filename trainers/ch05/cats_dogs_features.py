"""Classify cats and dogs with dense layers on features of VGG16, computed once: section 5.3.1, listings 5.16–5.19.

Expected: validation accuracy near 0.90 with ImageNet's weights, in a second an epoch after the features are computed.
The served graph begins with the frozen base, so it takes photos.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.preparation.cats_dogs import photo_data
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    from trainers.engine.batches import EvaluationBatches
    from trainers.networks.vgg import build_vgg

    pets = photo_data(kind, params)
    frozen_base = build_vgg(
        "vgg16", params["weights"], (params["size"], params["size"]), params["width"], params["blocks"]
    )

    def features(arrays: TrainingArrays) -> TrainingArrays:
        return TrainingArrays(frozen_base.predict(EvaluationBatches(arrays, params["batch_size"]), verbose=0), arrays.y)

    return dataclasses.replace(
        pets,
        train=features(pets.train),
        validation=pets.validation and features(pets.validation),
        test=pets.test and features(pets.test),
        frozen_base=frozen_base,
    )


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input(data.frozen_base.output_shape[1:], name="features"),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.5),
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
    listings="5.16–5.19",
    summary="classifies photos as cat or dog with dense layers on features of VGG16",
    dataset="cats_dogs",
    verb="predict",
    book={"best_val_accuracy": 0.90},
    metric="best_val_accuracy",
    params={
        "epochs": 30,
        "batch_size": 20,
        "learning_rate": 2e-5,
        "size": 150,
        "weights": "imagenet",
        "width": 1.0,
        "blocks": 5,
    },
    sample={"epochs": 20, "learning_rate": 0.0002, "size": 64, "weights": "none", "width": 0.25, "blocks": 3},
    data=data,
    build=build,
)

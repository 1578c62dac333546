"""Decide which of two cameras is nearer to an object, with one Xception for both pictures: section 7.1.6.

Expected: test accuracy above 0.8 on drawn pictures. The book's model ends with the merged features; pooling and a
sigmoid make it a model that can be trained. A short training needs a lower momentum of batch normalisation than
Keras's 0.99.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import BinaryLabel, Image, Scale
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    size = params["size"]
    views = generated.stereo_views(kind, size)
    picture = (Image(size, size), Scale(2 / 255, -1))
    verb = Predict(
        inputs={"left": picture, "right": picture},
        outputs={"probability": (BinaryLabel(("left", "right")),)},
    )
    return split_generated(verb, views, baseline.majority_accuracy(views.labels))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    shape = (params["size"], params["size"], 3)
    left, right = (keras.Input(shape, name=side) for side in ("left", "right"))
    xception = keras.applications.Xception(weights=None, include_top=False, input_shape=shape, pooling="avg")
    for layer in xception.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = params["momentum"]
    merged = layers.concatenate([xception(left), xception(right)])
    model = keras.Model({"left": left, "right": right}, layers.Dense(1, activation="sigmoid")(merged))
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="7.1.6",
    listings="–",
    summary="decides which of two cameras is nearer to an object, with one Xception for both pictures",
    dataset="generated",
    verb="predict",
    shown="a model that is used as a layer",
    metric="test_accuracy",
    params={"epochs": 10, "batch_size": 16, "learning_rate": 0.001, "size": 250, "momentum": 0.9},
    sample={"epochs": 2, "batch_size": 8, "size": 71, "momentum": 0.7},
    data=data,
    build=build,
)

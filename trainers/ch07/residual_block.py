"""Classify drawn shapes with residual connections, one identical and one projected: section 7.1.4.

Expected: test accuracy above 0.5 on drawn shapes; chance is 0.1. A convolution before the blocks makes the 128 channels
that the book's block takes; global average pooling and a softmax after them make a model that can be trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import Image, Scale, TopLabels
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    shapes = generated.drawn_shapes(kind, params["size"])
    verb = Predict(
        inputs={"image": (Image(params["size"], params["size"]), Scale(1 / 255))},
        outputs={"probabilities": (TopLabels(generated.SHAPES),)},
    )
    return split_generated(verb, shapes, baseline.majority_accuracy(shapes.labels))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    image = keras.Input((params["size"], params["size"], 3), name="image")
    relu = {"activation": "relu", "padding": "same"}
    x = layers.Conv2D(params["filters"], 3, strides=4, **relu)(image)
    y = layers.Conv2D(params["filters"], 3, **relu)(x)
    y = layers.Conv2D(params["filters"], 3, **relu)(y)
    y = layers.Conv2D(params["filters"], 3, **relu)(y)
    x = layers.add([y, x], name="identity")
    y = layers.Conv2D(params["filters"], 3, **relu)(x)
    y = layers.Conv2D(params["filters"], 3, **relu)(y)
    y = layers.MaxPooling2D(2, strides=2)(y)
    x = layers.add([y, layers.Conv2D(params["filters"], 1)(x[:, ::2, ::2])], name="projected")
    model = keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="7.1.4",
    listings="–",
    summary="classifies drawn shapes with residual connections",
    dataset="generated",
    verb="predict",
    shown="the input of a block is added to its output",
    metric="test_accuracy",
    params={"epochs": 10, "batch_size": 32, "learning_rate": 0.001, "size": 64, "filters": 128},
    sample={"epochs": 6, "filters": 48},
    data=data,
    build=build,
)

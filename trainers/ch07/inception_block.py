"""Classify drawn shapes with an Inception module, four branches with different filter sizes: section 7.1.4.

Expected: test accuracy above 0.5 on drawn shapes; chance is 0.1. Global average pooling and a softmax after the module
make it a model that can be trained. The branches are padded, so that their outputs have the same size.
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
    # This equals a 1×1 convolution with strides of 2, on which TensorFlow 2.21 crashes on some CPUs.
    a = layers.Conv2D(params["filters"], 1, **relu)(image[:, ::2, ::2])
    b = layers.Conv2D(params["filters"], 3, strides=2, **relu)(layers.Conv2D(params["filters"], 1, **relu)(image))
    c = layers.Conv2D(params["filters"], 3, **relu)(layers.AveragePooling2D(3, strides=2, padding="same")(image))
    d = layers.Conv2D(params["filters"], 3, **relu)(layers.Conv2D(params["filters"], 1, **relu)(image))
    d = layers.Conv2D(params["filters"], 3, strides=2, **relu)(d)
    x = layers.concatenate([a, b, c, d], name="module")
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
    summary="classifies drawn shapes with an Inception module",
    dataset="generated",
    verb="predict",
    shown="four branches that are joined",
    metric="test_accuracy",
    params={"epochs": 10, "batch_size": 32, "learning_rate": 0.001, "size": 64, "filters": 128},
    sample={"epochs": 8, "size": 32, "filters": 32, "learning_rate": 0.003},
    data=data,
    build=build,
)

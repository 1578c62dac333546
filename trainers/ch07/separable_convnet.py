"""Classify drawn shapes with depthwise separable convolutions and batch normalisation: section 7.3.1.

Expected: test accuracy above 0.9 on drawn shapes; chance is 0.1.
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

    model = keras.Sequential(
        [
            keras.Input((params["size"], params["size"], 3), name="image"),
            layers.SeparableConv2D(32, 3, activation="relu"),
            layers.BatchNormalization(momentum=params["momentum"]),
            layers.SeparableConv2D(64, 3, activation="relu"),
            layers.BatchNormalization(momentum=params["momentum"]),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(64, 3, activation="relu"),
            layers.BatchNormalization(momentum=params["momentum"]),
            layers.SeparableConv2D(128, 3, activation="relu"),
            layers.BatchNormalization(momentum=params["momentum"]),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(64, 3, activation="relu"),
            layers.BatchNormalization(momentum=params["momentum"]),
            layers.SeparableConv2D(128, 3, activation="relu"),
            layers.BatchNormalization(momentum=params["momentum"]),
            layers.GlobalAveragePooling2D(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="7.3.1",
    listings="–",
    summary="classifies drawn shapes with depthwise separable convolutions",
    dataset="generated",
    verb="predict",
    shown="fewer parameters than an ordinary convnet",
    metric="test_accuracy",
    params={"epochs": 10, "batch_size": 32, "learning_rate": 0.001, "size": 64, "momentum": 0.9},
    sample={"epochs": 3, "learning_rate": 0.002},
    data=data,
    build=build,
)

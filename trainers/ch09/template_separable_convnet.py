"""Classify pictures with separable convolutions, the book's template: section 9.1.6.

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

    # Keras initialises depthwise kernels as if they had nine times as many inputs as channels, but they have only nine:
    # activations vanish in six such layers. Kernels scaled for nine inputs avoid this without batch normalisation.
    start = {
        "depthwise_initializer": keras.initializers.RandomNormal(stddev=1 / 3),
        "pointwise_initializer": "he_normal",
    }
    model = keras.Sequential(
        [
            keras.Input((params["size"], params["size"], 3), name="image"),
            layers.SeparableConv2D(32, 3, activation="relu", **start),
            layers.SeparableConv2D(64, 3, activation="relu", **start),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(64, 3, activation="relu", **start),
            layers.SeparableConv2D(128, 3, activation="relu", **start),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(64, 3, activation="relu", **start),
            layers.SeparableConv2D(128, 3, activation="relu", **start),
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
    section="9.1.6",
    listings="–",
    summary="the template for classification of pictures",
    dataset="generated",
    verb="predict",
    shown="a stack of separable convolutions",
    metric="test_accuracy",
    params={"epochs": 20, "batch_size": 32, "learning_rate": 0.001, "size": 64},
    sample={"epochs": 6, "size": 32},
    data=data,
    build=build,
)

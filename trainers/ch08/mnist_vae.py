"""Generate digits from points of a plane with a variational autoencoder: section 8.4, listings 8.23–8.28.

Expected: a test loss near 0.18 after 10 epochs of about 75 seconds on 2 cores, and a grid like figure 8.14.
The standard deviation is exp(log_variance / 2); listing 8.24 prints exp(log_variance).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.generation.latent import latent_points
from bookserve.steps import DigitImage, Pixels, Scale, apply_steps
from bookserve.verb import Sample
from trainers.datasets import mnist
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

VERB = Sample(latent=2, after=(Pixels(),), before=(DigitImage(), Scale(1 / 255)), encode="encode")


def data(kind: Kind, params: Params) -> Data:
    digits = mnist.load(kind)
    train, test, few = (
        np.asarray(apply_steps(VERB.before, rows)) for rows in (digits.train.rows, digits.test.rows, digits.examples)
    )
    return Data(
        verb=VERB,
        about=digits.about,
        train=TrainingArrays(train, train),
        validation=TrainingArrays(test, test),
        test=TrainingArrays(test, test),
        example_rows=digits.examples,
        example_feeds={"decode": {"latent": latent_points(2, grid=4)}, "encode": {"image": few}},
        baseline=baseline.mean_row_loss(train, test),
    )


def sampling_layer() -> type[keras.layers.Layer]:
    """The class of the sampling layer; loading ``model.keras`` needs it as custom object ``Sampling``."""
    import keras
    from keras import ops

    class Sampling(keras.layers.Layer):  # type: ignore[misc]
        """Draws a point from the normal distribution given by the encoder, and adds the regularisation loss."""

        def __init__(self, divergence_weight: float, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.divergence_weight = divergence_weight
            self.seed = keras.random.SeedGenerator()

        def call(self, mean: Any, log_variance: Any) -> Any:
            divergence = -ops.mean(1 + log_variance - ops.square(mean) - ops.exp(log_variance))
            self.add_loss(self.divergence_weight * divergence)
            noise = keras.random.normal(ops.shape(mean), seed=self.seed)
            return mean + ops.exp(log_variance / 2) * noise

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "divergence_weight": self.divergence_weight}

    return Sampling


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", strides=2)(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    shape = x.shape[1:]
    x = layers.Flatten()(x)
    x = layers.Dense(32, activation="relu")(x)
    mean, log_variance = layers.Dense(2, name="mean")(x), layers.Dense(2, name="log_variance")(x)
    encoder = keras.Model({"image": image}, {"mean": mean, "log_variance": log_variance}, name="encode")

    latent = keras.Input((2,), name="latent")
    x = layers.Dense(prod(shape), activation="relu")(latent)
    x = layers.Reshape(shape)(x)
    x = layers.Conv2DTranspose(32, 3, padding="same", activation="relu", strides=2)(x)
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    decoder = keras.Model({"latent": latent}, {"image": x}, name="decode")

    code = encoder({"image": image})
    point = sampling_layer()(params["divergence_weight"])(code["mean"], code["log_variance"])
    model = keras.Model(image, decoder({"latent": point})["image"])
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="binary_crossentropy")
    return model


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    return {"decode": model.get_layer("decode"), "encode": model.get_layer("encode")}


TASK = Task(
    section="8.4",
    listings="8.23–8.28",
    summary="generates handwritten digits with a variational autoencoder",
    dataset="mnist",
    verb="sample",
    shown="a grid of digits (figure 8.14)",
    metric="test_loss",
    params={"epochs": 10, "batch_size": 16, "learning_rate": 0.001, "divergence_weight": 5e-4, "jit_compile": False},
    sample={"epochs": 7, "batch_size": 8, "learning_rate": 0.002, "divergence_weight": 2e-3},
    data=data,
    build=build,
    graphs=graphs,
    custom=lambda: {"Sampling": sampling_layer()},
)

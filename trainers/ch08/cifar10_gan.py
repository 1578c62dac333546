"""Generate pictures of frogs with a generative adversarial network: section 8.5, listings 8.29–8.32.

Expected: after the book's 10,000 iterations, blurred pictures that resemble frogs at first sight. An iteration takes
about 2 seconds on 2 cores, so use a GPU. Labels are 1 for generated and 0 for real pictures, plus noise of up to 0.05
(listing 8.32 prints 0.5, which leads to targets of 1.5). Pixels are in [-1, 1], the range of tanh. The saved generator
is the moving average over about the last thousand iterations; ``-p averaging=0`` saves the last one, as the book does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bookserve.steps import Image, Pixels, Scale, apply_steps
from bookserve.verb import Sample
from trainers.datasets import cifar10
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.networks.frechet_distance import frechet_distance
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

LATENT = 32
#: The number of generated pictures for computing the distance.
SHOWN = 500


def data(kind: Kind, params: Params) -> Data:
    frogs = cifar10.load(kind)
    verb = Sample(latent=LATENT, after=(Pixels(-1, 1),))
    pictures = LazilyEncoded(frogs, (Image(32, 32), Scale(2 / 255, -1)))
    noise = np.random.default_rng(0).uniform(-1, 1, (SHOWN, 32, 32, 3))
    return Data(
        verb=verb,
        about=f"{len(frogs):,} {'frogs of CIFAR-10' if kind == 'real' else 'drawn frogs'}",
        train=TrainingArrays(pictures, np.zeros(len(frogs), np.float32)),
        validation=None,
        test=None,
        example_rows=np.array([], np.uint8),
        example_feeds={"decode": {"latent": np.random.default_rng(0).normal(size=(8, LATENT)).astype(np.float32)}},
        baseline=frechet_distance(noise, _real(frogs)),
    )


def build(data: Data, params: Params) -> keras.Model:
    import keras

    from trainers.networks.gan import Adversaries

    model = Adversaries(params["width"], params["generator_rate"], params["label_noise"], params["averaging"])
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]))
    model.optimizer.build(model.trainable_variables)
    return model


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    return {"decode": model.average}


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """The Fréchet distance between generated and real frogs (``trainers/networks/frechet_distance.py``)."""
    points = np.random.default_rng(params["seed"]).normal(size=(SHOWN, LATENT)).astype(np.float32)
    drawn = model.average.predict({"latent": points}, batch_size=50, verbose=0)["image"]
    if not isinstance(data.train.x, LazilyEncoded):
        raise TypeError("the pictures of frogs must be encoded lazily")
    return {"distance": frechet_distance(drawn, _real(data.train.x.rows))}


def _real(frogs: np.ndarray) -> np.ndarray:
    return np.asarray(apply_steps((Image(32, 32), Scale(2 / 255, -1)), frogs))


def custom() -> dict[str, type]:
    from trainers.networks.gan import Adversaries

    return {"Adversaries": Adversaries}


TASK = Task(
    section="8.5",
    listings="8.29–8.32",
    summary="generates pictures of frogs with a generative adversarial network",
    dataset="cifar10",
    verb="sample",
    shown="frogs (figure 8.18)",
    metric="distance",
    params={
        "epochs": 100,
        "batch_size": 20,
        "learning_rate": 8e-4,
        "generator_rate": 4e-4,
        "label_noise": 0.05,
        "averaging": 0.999,
        "steps_per_epoch": 100,
        "width": 1.0,
        "samples_every": 10,
    },
    sample={"epochs": 3, "batch_size": 10, "steps_per_epoch": 60, "width": 0.125, "samples_every": 0},
    data=data,
    build=build,
    graphs=graphs,
    conclude=conclude,
    custom=custom,
)

"""Pets: the photos of cats and dogs as the book's convnets see them, plain or augmented."""

from __future__ import annotations

import numpy as np

from bookserve.steps import BinaryLabel, Image, Scale
from bookserve.verb import Predict
from trainers.arrays import Augment, LazilyEncoded, TrainingArrays
from trainers.datasets import cats_dogs
from trainers.datasets.dataset import Kind, Split
from trainers.preparation import baseline
from trainers.preparation.augmentation import random_affine
from trainers.task import Data, Params

#: Listing 5.11.
AUGMENTATION = random_affine(turn=40, shift=0.2, shear=0.2, zoom=0.2, flip=True)


def photo_data(kind: Kind, params: Params, augment: Augment | None = None) -> Data:
    """Pictures of ``params["size"]`` pixels a side; only those trained on are augmented.

    The graph's input is ``image`` float32 [batch, size, size, 3], its output ``probability`` (of a dog) [batch, 1].
    """
    size = params["size"]
    verb = Predict(
        inputs={"image": (Image(size, size), Scale(1 / 255))},
        outputs={"probability": (BinaryLabel(("cat", "dog")),)},
    )

    def pairs(part: Split, augment: Augment | None = None) -> TrainingArrays:
        return TrainingArrays(LazilyEncoded(np.asarray(part.rows), verb.inputs["image"], augment), part.labels)

    pets = cats_dogs.load(kind, size)
    return Data(
        verb=verb,
        about=pets.about,
        train=pairs(pets.train, augment),
        validation=pets.validation and pairs(pets.validation),
        test=pairs(pets.test),
        rows=pets.few,
        feeds={"serving_default": verb.encode(pets.few)},
        baseline=baseline.majority_accuracy(pets.test.labels),
    )

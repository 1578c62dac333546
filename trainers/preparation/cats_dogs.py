"""Prepare the photos of cats and dogs for the book's convnets, with or without augmentation."""

from __future__ import annotations

import numpy as np

from bookserve.steps import BinaryLabel, Image, Scale
from bookserve.verb import Predict
from trainers.datasets import cats_dogs
from trainers.datasets.arrays import Augment, LazilyEncoded, TrainingArrays
from trainers.datasets.dataset import Kind, Split
from trainers.preparation import baseline
from trainers.preparation.augmentation import random_affine
from trainers.task import Data, Params

#: The augmentation of listing 5.11.
AUGMENTATION = random_affine(turn=40, shift=0.2, shear=0.2, zoom=0.2, flip=True)


def photo_data(kind: Kind, params: Params, augment: Augment | None = None) -> Data:
    """Pictures of ``params["size"]`` × ``params["size"]`` pixels; only the training rows are augmented.

    The graph's input is ``image`` float32 [batch, size, size, 3], its output ``probability`` (of a dog) float32
    [batch, 1].
    """
    size = params["size"]
    verb = Predict(
        inputs={"image": (Image(size, size), Scale(1 / 255))},
        outputs={"probability": (BinaryLabel(("cat", "dog")),)},
    )

    def encode_split(part: Split, augment: Augment | None = None) -> TrainingArrays:
        return TrainingArrays(LazilyEncoded(np.asarray(part.rows), verb.inputs["image"], augment), part.labels)

    pets = cats_dogs.load(kind, size)
    return Data(
        verb=verb,
        about=pets.about,
        train=encode_split(pets.train, augment),
        validation=pets.validation and encode_split(pets.validation),
        test=encode_split(pets.test),
        example_rows=pets.examples,
        example_feeds={"serving_default": verb.encode(pets.examples)},
        baseline=baseline.majority_accuracy(pets.test.labels),
    )

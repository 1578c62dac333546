"""A small network with known layers and gradients, a photo for it, and the command ``bookserve inside``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bookserve.run import Run
from tests.trainers.inspect.small import SIZE, VERB, keep
from trainers.cli.inspect import inside


@pytest.fixture(scope="module")
def model() -> Any:
    """A convnet with a model inside: filter 0 sees brightness, filter 1 darkness; class 1 is brightness anywhere."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 1))
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="look")(image)
    base = keras.Model(image, layers.MaxPooling2D(2, name="pool")(x), name="base")
    net = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1), name="image"),
            base,
            layers.Conv2D(2, 1, name="mix"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )
    bright = np.full((3, 3, 1), 1 / 9, np.float32)
    base.get_layer("look").set_weights([np.stack([bright, -bright], axis=-1), np.array([0, 1], np.float32)])
    net.get_layer("mix").set_weights([np.eye(2, dtype=np.float32)[None, None], np.zeros(2, np.float32)])
    net.get_layer("classes").set_weights([np.array([[-4, 4], [0, 0]], np.float32), np.array([1, -1], np.float32)])
    return net


@pytest.fixture
def photo() -> np.ndarray:
    """A bright square in the top left quadrant, uint8 [12, 12]."""
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[1:5, 1:5] = 255
    return pixels


@pytest.fixture
def run(model: Any, photo: np.ndarray, tmp_path: Path) -> Run:
    return keep(model, tmp_path / "runs", VERB, photo[None])


@pytest.fixture
def look() -> Iterator[Any]:
    """Run ``bookserve inside …`` and return what it said."""

    def call(*words: object) -> str:
        return CliRunner().invoke(inside, list(map(str, words)), catch_exceptions=False).output

    yield call

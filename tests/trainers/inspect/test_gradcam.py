"""Grad-CAM: hot where the object is, in every kind of network that has maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from tests.trainers.inspect.small import SIZE, seen


def test_grad_cam_is_hot_where_the_object_is(model: Any, photo: np.ndarray) -> None:
    from bookserve.generation.explain import overlay_heatmap
    from trainers.inspect.gradcam import gradcam

    likeliest = gradcam(model, seen(photo), layer="pool")
    assert likeliest.probability > 0.5
    assert (likeliest.chosen, likeliest.heatmap.shape) == (0, (6, 6))
    heat = gradcam(model, seen(photo), 1)
    assert heat.heatmap.shape == (6, 6)
    assert heat.heatmap.max() == 1
    quadrant = heat.heatmap[:3, :3].sum()
    assert quadrant > 0.9 * heat.heatmap.sum()
    other = np.rot90(photo, 2)
    assert gradcam(model, seen(other), 1).heatmap[3:, 3:].sum() == pytest.approx(quadrant)
    laid = overlay_heatmap(heat.heatmap, np.full((48, 60, 3), 100, np.uint8)).astype(int)
    assert laid.shape == (48, 60, 3)
    assert abs(laid[:24, :30] - 100).sum() > 5 * abs(laid[24:, 30:] - 100).sum()


def test_grad_cam_of_a_network_with_one_output_knows_both_classes(photo: np.ndarray) -> None:
    import keras
    from keras import layers

    from trainers.inspect.gradcam import gradcam

    image = keras.Input((SIZE, SIZE, 1))
    maps = layers.Conv2D(1, 1, name="only")(image)
    score = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(image, score)
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.ones((1, 1)), np.zeros(1)])
    bright, dark = (gradcam(model, seen(photo), index) for index in (1, 0))
    assert bright.probability + dark.probability == pytest.approx(1)
    np.testing.assert_array_equal(bright.heatmap, photo / 255)
    assert not dark.heatmap.any()  # brightness speaks against it, and nothing for it: zeros, no division by zero
    with pytest.raises(InvalidInput, match="no class 2"):
        gradcam(model, seen(photo), 2)


def test_grad_cam_follows_a_way_around_the_layer(photo: np.ndarray) -> None:
    import keras
    from keras import layers

    from trainers.inspect.gradcam import gradcam

    image = keras.Input((SIZE, SIZE, 1))
    added = layers.Add()([layers.Conv2D(1, 1, name="conv")(image), image])
    model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(added)))
    assert gradcam(model, seen(photo), layer="conv").heatmap.shape == (SIZE, SIZE)


def test_networks_that_cannot_be_looked_into() -> None:
    import keras

    from trainers.inspect.gradcam import gradcam
    from trainers.inspect.layers import names

    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="flat")
    with pytest.raises(InvalidInput, match="flat has no convolution layer"):
        gradcam(flat, np.ones((1, 4), np.float32))

    class Own(keras.Model):  # type: ignore[misc]
        pass

    with pytest.raises(InvalidInput, match="the layers of own have no known order"):
        names(Own(name="own"))

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Gradients: the graphs that give a loss and its gradient with respect to a picture, for DeepDream and style transfer.

They hold TensorFlow's tape, so they need Keras's TensorFlow backend. A batch is as many pictures on their own: no row's
loss depends on another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

#: Of the style loss: the colours of a picture (listing 8.18).
_CHANNELS = 3


def model(inputs: dict[str, Any], loss: Callable[[dict[str, Any]], Any], network: keras.Model) -> keras.Model:
    """A model from ``inputs``, ``image`` among them, to ``loss`` float32 [batch] and ``gradient`` like the picture."""
    return keras.Model(inputs, Gradient(loss, network)(inputs))


class Gradient(keras.layers.Layer):  # type: ignore[misc]
    """``loss`` of the inputs, and its gradient with respect to ``image``."""

    def __init__(self, loss: Callable[[dict[str, Any]], Any], network: keras.Model) -> None:
        super().__init__()
        self._loss = loss
        self.network = network  # so that its weights are saved

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs["image"])
            loss = self._loss(inputs)
        return {"loss": loss, "gradient": tape.gradient(loss, inputs["image"])}


def activation(network: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The loss of DeepDream: mean squares of the network's outputs, as much of each as ``contributions`` say (8.10)."""

    def loss(inputs: dict[str, Any]) -> Any:
        outputs = network(inputs["image"], training=False)
        means = [ops.mean(ops.square(output), axis=(1, 2, 3)) for output in outputs.values()]
        return ops.sum(ops.stack(means, axis=1) * inputs["contributions"], axis=1)

    return loss


def style(network: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The loss of style transfer: content, style and total variation by their ``weights`` (listings 8.17–8.20).

    The names of the network's outputs begin with ``content_`` or ``style_``: what each is compared for.
    """

    def loss(inputs: dict[str, Any]) -> Any:
        image, photo, reference = (network(inputs[name], training=False) for name in ("image", "content", "style"))
        contents, styles = ([name for name in image if name.startswith(use)] for use in ("content_", "style_"))
        kept = sum(ops.sum(ops.square(image[name] - photo[name]), axis=(1, 2, 3)) for name in contents)
        size = ops.cast(ops.shape(inputs["image"])[1] * ops.shape(inputs["image"])[2], "float32")
        painted = sum(_style(image[name], reference[name], size) for name in styles) / len(styles)
        terms = ops.stack([kept, painted, _variation(inputs["image"])], axis=1)
        return ops.sum(terms * inputs["weights"], axis=1)

    return loss


def _style(image: Any, reference: Any, size: Any) -> Any:
    difference = ops.square(_gram(reference) - _gram(image))
    return ops.sum(difference, axis=(1, 2)) / (4 * _CHANNELS**2 * size**2)


def _gram(features: Any) -> Any:
    """How often channels are active together: [batch, height, width, channels] → [batch, channels, channels]."""
    return ops.einsum("bhwc,bhwd->bcd", features, features)


def _variation(image: Any) -> Any:
    corner = image[:, :-1, :-1]
    steps = ops.square(corner - image[:, 1:, :-1]) + ops.square(corner - image[:, :-1, 1:])
    # Where neighbours are equal, the power's own gradient is that of nought: the sum is kept away from it.
    return ops.sum(ops.power(steps + 1e-12, 1.25), axis=(1, 2, 3))

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Gradients: the graphs that give a loss and its gradient with respect to a picture, for DeepDream and style transfer.

They hold TensorFlow's tape, so they need Keras's TensorFlow backend. A batch is as many pictures on their own: no row's
loss depends on another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

#: Of the style loss: the colours of a picture (listing 8.18).
_CHANNELS = 3


def gradient_model(inputs: dict[str, Any], loss: Callable[[dict[str, Any]], Any], network: keras.Model) -> keras.Model:
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


def dream_loss(network: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The loss of DeepDream: mean squares of the network's outputs, as much of each as ``contributions`` say (8.10)."""

    def loss(inputs: dict[str, Any]) -> Any:
        outputs = network(inputs["image"], training=False)
        means = [ops.mean(ops.square(output), axis=(1, 2, 3)) for output in outputs.values()]
        return ops.sum(ops.stack(means, axis=1) * inputs["contributions"], axis=1)

    return loss


def style_loss(network: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The loss of style transfer: content, style and total variation by their ``weights`` (listings 8.17–8.20).

    ``content`` and ``style`` of the inputs are the features of the photo and of the painting.
    """
    layers = sum(name.startswith("style_") for name in network.output)
    few = math.gcd(*(maps.shape[-1] for maps in network.output.values()))

    def loss(inputs: dict[str, Any]) -> Any:
        seen = _features(network, inputs["image"])
        kept, painted = (_sums_of_squares(seen[use] - inputs[use], few) for use in ("content", "style"))
        terms = ops.stack([kept, painted / layers, _total_variation(inputs["image"])], axis=1)
        return ops.sum(terms * inputs["weights"], axis=1)

    return loss


def feature_model(network: keras.Model) -> keras.Model:
    """A model from ``image`` to its ``content`` and ``style``, both float32 [batch, numbers].

    Of the network's outputs those whose names begin with ``content_`` count as they are, and of those that begin with
    ``style_`` how often channels are active together; listing 8.18 divides that by the picture's size only once it is
    squared.
    """
    image = keras.Input((None, None, 3), name="image")
    return keras.Model({"image": image}, Features(network)(image))


class Features(keras.layers.Layer):  # type: ignore[misc]
    """What a picture is compared for."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    def call(self, image: Any) -> dict[str, Any]:
        return _features(self.network, image)


def _features(network: keras.Model, image: Any) -> dict[str, Any]:
    maps = network(image, training=False)
    count, height, width = ops.shape(image)[:3]
    contents = [ops.reshape(maps[name], (count, -1)) for name in maps if name.startswith("content_")]
    grams = [_gram_matrix(maps[name]) for name in maps if name.startswith("style_")]
    size = ops.cast(2 * _CHANNELS * height * width, "float32")
    return {"content": ops.concatenate(contents, axis=1), "style": ops.concatenate(grams, axis=1) / size}


def _sums_of_squares(differences: Any, few: int) -> Any:
    """Sums of squares [batch, numbers] → [batch], of ``few`` at first: a long sum in float32 loses digits."""
    parts = ops.reshape(ops.square(differences), (ops.shape(differences)[0], -1, few))
    return ops.sum(ops.sum(parts, axis=2), axis=1)


def _gram_matrix(maps: Any) -> Any:
    """How often channels are active together: [batch, height, width, channels] → [batch, channels × channels].

    Channels first, as in listing 8.18: ONNX has them so, and need not turn the maps around.
    """
    channels = maps.shape[-1]
    rows = ops.reshape(ops.transpose(maps, (0, 3, 1, 2)), (ops.shape(maps)[0], channels, -1))
    return ops.reshape(ops.einsum("bcp,bdp->bcd", rows, rows), (-1, channels**2))


def _total_variation(image: Any) -> Any:
    corner = image[:, :-1, :-1]
    steps = ops.square(corner - image[:, 1:, :-1]) + ops.square(corner - image[:, :-1, 1:])
    # Where neighbours are equal, the power's own gradient is that of nought: the sum is kept away from it.
    return ops.sum(ops.power(steps + 1e-12, 1.25), axis=(1, 2, 3))

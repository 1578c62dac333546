# ruff: noqa: TID253 - imported only inside functions of the command line
"""Build graphs that compute a loss and its gradient with respect to a picture, for DeepDream and style transfer.

They use TensorFlow's gradient tape, so Keras's backend must be TensorFlow. The pictures of a batch are independent: no
row's loss depends on another row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

#: The number of colour channels, a factor of the style loss (listing 8.18).
_CHANNELS = 3


def gradient_model(inputs: dict[str, Any], loss: Callable[[dict[str, Any]], Any], network: keras.Model) -> keras.Model:
    """A model from ``inputs`` (one is ``image``) to ``loss`` float32 [batch] and ``gradient`` in ``image``'s shape."""
    return keras.Model(inputs, Gradient(loss, network)(inputs))


class Gradient(keras.layers.Layer):  # type: ignore[misc]
    """Computes ``loss`` of the inputs, and its gradient with respect to ``image``."""

    def __init__(self, loss: Callable[[dict[str, Any]], Any], network: keras.Model) -> None:
        super().__init__()
        self._loss = loss
        self.network = network  # as an attribute, so that Keras saves its weights

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs["image"])
            loss = self._loss(inputs)
        return {"loss": loss, "gradient": tape.gradient(loss, inputs["image"])}


def dream_loss(network: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The loss of DeepDream (listing 8.10): mean squares of the network's outputs, weighted by ``contributions``."""

    def loss(inputs: dict[str, Any]) -> Any:
        outputs = network(inputs["image"], training=False)
        means = [ops.mean(ops.square(output), axis=(1, 2, 3)) for output in outputs.values()]
        return ops.sum(ops.stack(means, axis=1) * inputs["contributions"], axis=1)

    return loss


def style_loss(network: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The loss of style transfer (listings 8.17–8.20): content, style and total variation, weighted by ``weights``.

    The inputs ``content`` and ``style`` are the features of the photo and of the painting (``feature_model``).
    """
    layers = sum(name.startswith("style_") for name in network.output)
    chunk = math.gcd(*(maps.shape[-1] for maps in network.output.values()))

    def loss(inputs: dict[str, Any]) -> Any:
        seen = _features(network, inputs["image"])
        kept, painted = (_sums_of_squares(seen[use] - inputs[use], chunk) for use in ("content", "style"))
        terms = ops.stack([kept, painted / layers, _total_variation(inputs["image"])], axis=1)
        return ops.sum(terms * inputs["weights"], axis=1)

    return loss


def feature_model(network: keras.Model) -> keras.Model:
    """A model from ``image`` to its ``content`` and ``style``, both float32 [batch, numbers].

    The content are the network's outputs whose names begin with ``content_``; the style are the Gram matrices of those
    that begin with ``style_``. The Gram matrices are divided by the picture's size here; listing 8.18 does so after
    squaring their differences.
    """
    image = keras.Input((None, None, 3), name="image")
    return keras.Model({"image": image}, Features(network)(image))


class Features(keras.layers.Layer):  # type: ignore[misc]
    """Computes the content and the style features of a picture."""

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


def _sums_of_squares(differences: Any, chunk: int) -> Any:
    """Sums of squares [batch, numbers] → [batch]; first of ``chunk`` numbers: long sums in float32 are inexact."""
    parts = ops.reshape(ops.square(differences), (ops.shape(differences)[0], -1, chunk))
    return ops.sum(ops.sum(parts, axis=2), axis=1)


def _gram_matrix(maps: Any) -> Any:
    """The Gram matrix, flattened: [batch, height, width, channels] → [batch, channels × channels].

    Channels come first, as in listing 8.18 and in ONNX, which so needs no transposition.
    """
    channels = maps.shape[-1]
    rows = ops.reshape(ops.transpose(maps, (0, 3, 1, 2)), (ops.shape(maps)[0], channels, -1))
    return ops.reshape(ops.einsum("bcp,bdp->bcd", rows, rows), (-1, channels**2))


def _total_variation(image: Any) -> Any:
    corner = image[:, :-1, :-1]
    steps = ops.square(corner - image[:, 1:, :-1]) + ops.square(corner - image[:, :-1, 1:])
    # The power has no finite gradient at 0, where neighbouring pixels are equal; so a small number is added.
    return ops.sum(ops.power(steps + 1e-12, 1.25), axis=(1, 2, 3))

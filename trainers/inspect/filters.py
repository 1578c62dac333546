# ruff: noqa: TID253 - imported only inside functions of the command line
"""Filters: the pattern that each filter of a layer answers to most, found by gradient ascent from noise.

Section 5.4.2, listings 5.32–5.39. The ascent takes place among pixels 0–255, as the book's does; what the verb's Steps
do to a pixel is part of what is climbed, so that a step of 1 means the same for every model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from bookserve import images as pictures
from bookserve.errors import InvalidInput
from trainers.inspect.gradient import gradient
from trainers.inspect.layers import find_layer, ordered, walk
from trainers.inspect.source import Affine

#: Filters in one sheet at most, and in a row of it.
COUNT, COLUMNS = 64, 8
#: From and to which grey levels the noise goes that the ascent begins with: the book's, and for those filters that do
#: not answer to it, and so have no way up, all there are.
_NOISES = ((128, 148), (0, 255))
#: Filters that climb together, for the sake of memory.
TOGETHER = 16


class Patterns(NamedTuple):
    """The patterns of the first filters of a layer."""

    #: uint8 [filters, height, width, channels]; black where a filter answered to nothing on the way.
    pixels: np.ndarray
    #: How strongly each filter answered before every step and at the end: float [steps + 1, filters].
    answers: np.ndarray


def filters(
    model: keras.Model,
    layer: str,
    affine: Affine,
    *,
    rng: np.random.Generator,
    count: int = COUNT,
    steps: int = 40,
    step: float = 1.0,
    size: int = 140,
) -> Patterns:
    """Patterns of the first ``count`` filters of ``layer``; ``size`` is the pictures' where the model takes any.

    Raises:
        NotFound: no such layer.
        InvalidInput: its output is no map [height, width, channels].
    """
    upto = _upto(model, layer)
    _, height, width, channels = upto.inputs[0].shape
    total = min(count, upto.outputs[0].shape[-1])
    pixels = np.empty((total, height or size, width or size, channels), np.float32)
    heights = np.zeros((steps + 1, total))
    for low, high in _NOISES:
        left = np.flatnonzero(heights[-1] == 0)
        noise = rng.uniform(low, high, (len(left), *pixels.shape[1:])).astype(np.float32)
        for start in range(0, len(left), TOGETHER):
            which = left[start : start + TOGETHER]
            pixels[which], heights[:, which] = _climb(upto, affine, noise[start : start + TOGETHER], which, steps, step)
    shown = _visible(pixels)
    shown[heights[-1] == 0] = 0
    return Patterns(shown, heights)


def sheet(patterns: np.ndarray) -> np.ndarray:
    """Patterns uint8 [filters, height, width, channels] in a grid of 8 a row, with a margin around each."""
    height = patterns.shape[1]
    scale, margin = max(1, 112 // height), max(1, height // 20)
    framed = np.pad(patterns, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return pictures.contact_sheet(framed, columns=COLUMNS, scale=scale)


def _upto(model: keras.Model, layer: str) -> keras.Model:
    """The part of ``model`` that ends with ``layer``: what lies behind need not be computed."""
    path, found = find_layer(model, layer), []

    def visit(name: str, kind: Any, output: Any) -> Any:
        if name == path:
            found.append(output)
        return output

    inputs = ordered(model).inputs
    walk(model, inputs, visit)
    shape = found[0].shape
    if len(shape) != 4:
        raise InvalidInput(
            f"layer '{path}' gives {list(shape[1:])}, not a map [height, width, channels].",
            "Choose a convolution or pooling layer.",
        )
    return keras.Model(inputs, found[0])


def _climb(
    model: keras.Model, affine: Affine, pixels: np.ndarray, which: np.ndarray, steps: int, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Picture i climbs towards filter ``which[i]``; its mean over the map is the height."""
    chosen = np.eye(model.outputs[0].shape[-1], dtype=np.float32)[which][:, None, None, :]

    def height(pixels: Any) -> Any:
        seen = ops.matmul(pixels, affine.matrix) + affine.offset
        return ops.mean(ops.sum(model(seen, training=False) * chosen, axis=-1), axis=(1, 2))

    heights = []
    for _ in range(steps):
        reached, slope = gradient(height, pixels)
        heights.append(reached)
        norm = np.sqrt(np.mean(np.square(slope, dtype=np.float64), axis=(1, 2, 3), keepdims=True))
        # A relu that is 0 everywhere has no slope: there is no way up for it.
        pixels = pixels + (step * slope / np.where(norm > 0, norm, 1)).astype(np.float32)
    heights.append(keras.ops.convert_to_numpy(height(ops.convert_to_tensor(pixels))))
    return pixels, np.stack(heights)


def _visible(pixels: np.ndarray) -> np.ndarray:
    """Each picture with mean 0.5 and standard deviation 0.1 of full brightness, clipped."""
    axes = (1, 2, 3)
    centred = pixels - pixels.mean(axis=axes, keepdims=True)
    standard = centred / (pixels.std(axis=axes, keepdims=True) + 1e-5)
    shown: np.ndarray = np.rint(np.clip(standard * 0.1 + 0.5, 0, 1) * 255).astype(np.uint8)
    return shown

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Find the pattern that activates each filter of a layer most, by gradient ascent from noise.

Source: section 5.4.2, listings 5.32–5.39. As in the book, the ascent changes pixels in the range 0–255. The verb's
Steps are part of the function, so that a step of 1 means the same for every model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from bookserve import images
from bookserve.errors import InvalidInput
from trainers.inspect.gradient import value_and_gradient
from trainers.inspect.layers import as_layer_graph, find_layer, run_layers
from trainers.inspect.trained_model import Affine

#: The maximum number of filters in one picture, and the number in each of its rows.
COUNT, COLUMNS = 64, 8
#: Lowest and highest grey level of the initial noise: first the book's; then the whole range, for filters that the
#: first noise does not activate at all (their gradient is 0).
_NOISES = ((128, 148), (0, 255))
#: How many filters are computed at once, to limit memory.
BATCH = 16


class Patterns(NamedTuple):
    """The patterns of the first filters of a layer."""

    #: uint8 [filters, height, width, channels]; black for filters that were never active.
    pixels: np.ndarray
    #: Mean activation of each filter before every step and at the end: float [steps + 1, filters].
    activations: np.ndarray


def filter_patterns(
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
    """Patterns of the first ``count`` filters of ``layer``.

    ``affine`` is what the Steps do to a pixel; ``size`` is the height and width in pixels if the model takes any size.

    Raises:
        NotFound: the model has no such layer.
        InvalidInput: the layer's output is not a feature map [height, width, channels].
    """
    upto = _model_up_to(model, layer)
    _, height, width, channels = upto.inputs[0].shape
    total = min(count, upto.outputs[0].shape[-1])
    pixels = np.empty((total, height or size, width or size, channels), np.float32)
    heights = np.zeros((steps + 1, total))
    for low, high in _NOISES:
        left = np.flatnonzero(heights[-1] == 0)
        noise = rng.uniform(low, high, (len(left), *pixels.shape[1:])).astype(np.float32)
        for start in range(0, len(left), BATCH):
            which = left[start : start + BATCH]
            pixels[which], heights[:, which] = _ascend(upto, affine, noise[start : start + BATCH], which, steps, step)
    shown = _to_pixels(pixels)
    shown[heights[-1] == 0] = 0
    return Patterns(shown, heights)


def pattern_sheet(patterns: np.ndarray) -> np.ndarray:
    """One picture with all patterns (uint8 [filters, height, width, channels]), 8 per row, with margins."""
    height = patterns.shape[1]
    scale, margin = max(1, 112 // height), max(1, height // 20)
    framed = np.pad(patterns, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return images.contact_sheet(framed, columns=COLUMNS, scale=scale)


def _model_up_to(model: keras.Model, layer: str) -> keras.Model:
    """The part of ``model`` from its input to ``layer``, so that later layers are not computed."""
    path, found = find_layer(model, layer), []

    def visit(name: str, _: Any, output: Any) -> Any:
        if name == path:
            found.append(output)
        return output

    inputs = as_layer_graph(model).inputs
    run_layers(model, inputs, visit)
    shape = found[0].shape
    if len(shape) != 4:
        raise InvalidInput(
            f"the output of layer '{path}' is {list(shape[1:])}, not a feature map [height, width, channels].",
            "Choose a convolution or pooling layer.",
        )
    return keras.Model(inputs, found[0])


def _ascend(
    model: keras.Model, affine: Affine, pixels: np.ndarray, which: np.ndarray, steps: int, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient ascent: picture i maximises the mean activation of filter ``which[i]``.

    Returns the pictures, and the mean activations [steps + 1, pictures].
    """
    chosen = np.eye(model.outputs[0].shape[-1], dtype=np.float32)[which][:, None, None, :]

    def height(pixels: Any) -> Any:
        seen = ops.matmul(pixels, affine.matrix) + affine.offset
        return ops.mean(ops.sum(model(seen, training=False) * chosen, axis=-1), axis=(1, 2))

    heights = []
    for _ in range(steps):
        reached, slope = value_and_gradient(height, pixels)
        heights.append(reached)
        norm = np.sqrt(np.mean(np.square(slope, dtype=np.float64), axis=(1, 2, 3), keepdims=True))
        # Where a relu is 0 everywhere, the gradient is 0 and the picture stays as it is.
        pixels = pixels + (step * slope / np.where(norm > 0, norm, 1)).astype(np.float32)
    heights.append(keras.ops.convert_to_numpy(height(ops.convert_to_tensor(pixels))))
    return pixels, np.stack(heights)


def _to_pixels(pixels: np.ndarray) -> np.ndarray:
    """Each picture scaled to mean 0.5 and standard deviation 0.1 of full brightness, clipped, as uint8."""
    axes = (1, 2, 3)
    centred = pixels - pixels.mean(axis=axes, keepdims=True)
    standard = centred / (pixels.std(axis=axes, keepdims=True) + 1e-5)
    shown: np.ndarray = np.rint(np.clip(standard * 0.1 + 0.5, 0, 1) * 255).astype(np.uint8)
    return shown

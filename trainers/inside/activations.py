# ruff: noqa: TID253 - imported only inside functions of the command line
"""Activations: what every layer of a network gives for one picture (section 5.4.1, listings 5.24–5.31)."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from bookserve import pictures
from trainers.inside.colours import colours
from trainers.inside.layers import walk

#: Channels in a row of a sheet, and pixels that a small channel is enlarged to: the book's.
COLUMNS, SIZE = 16, 58


def activations(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """By layer, in the order in which they run, its output for ``image`` [1, height, width, channels]: [1, …].

    Raises:
        InvalidInput: the model is not made of layers.
    """
    found = {}

    def visit(name: str, layer: Any, output: Any) -> Any:
        found[name] = keras.ops.convert_to_numpy(output)
        return output

    walk(model, keras.ops.convert_to_tensor(image), visit)
    return found


def sheet(activation: np.ndarray) -> np.ndarray:
    """One layer's output [1, height, width, channels] or [1, n] → a picture, uint8 [height, width, 3].

    Every channel is standardised by itself; a channel that is the same everywhere, as most are in deep layers, is
    black. The numbers of a vector are standardised together and drawn as a square.
    """
    if activation.ndim == 4:
        channels = np.moveaxis(activation[0].astype(np.float64), -1, 0)
        spread = channels.std(axis=(1, 2), keepdims=True)
        mean = channels.mean(axis=(1, 2), keepdims=True)
        columns = COLUMNS
    else:
        channels = activation.astype(np.float64).reshape(-1, 1, 1)
        spread, mean = np.full_like(channels, channels.std()), np.full_like(channels, channels.mean())
        columns = max(COLUMNS, math.isqrt(len(channels)))
    blank = spread <= 1e-6 * np.abs(mean)  # the same everywhere, but for rounding
    standard = (channels - mean) / np.where(blank, 1, spread)
    tiles = colours(0.5 + standard / 4)  # two standard deviations to each side
    tiles[np.broadcast_to(blank, tiles.shape[:3])] = 0
    scale = max(1, (SIZE if activation.ndim == 4 else 8) // max(tiles.shape[1:3]))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    return pictures.contact_sheet(np.pad(tiles, ((0, 0), (1, 1), (1, 1), (0, 0))), columns=columns)

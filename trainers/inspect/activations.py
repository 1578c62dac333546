# ruff: noqa: TID253 - imported only inside functions of the command line
"""Activations: what every layer of a network gives for one picture (section 5.4.1, listings 5.24–5.31)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from trainers.inspect.layers import run_layers


def layer_activations(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """By layer, in the order in which they run, its output for ``image`` [1, height, width, channels]: [1, …].

    Raises:
        InvalidInput: the model is not made of layers.
    """
    found = {}

    def visit(name: str, layer: Any, output: Any) -> Any:
        found[name] = keras.ops.convert_to_numpy(output)
        return output

    run_layers(model, keras.ops.convert_to_tensor(image), visit)
    return found

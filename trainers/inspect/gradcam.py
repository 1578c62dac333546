# ruff: noqa: TID253 - imported only inside functions of the command line
"""Grad-CAM: which parts of a picture speak for a class (section 5.4.3, listings 5.42–5.44; arXiv 1610.02391)."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from bookserve.errors import InvalidInput
from trainers.inspect.gradient import value_and_gradient
from trainers.inspect.layers import find_layer, layer_names, run_layers


class ClassHeatmap(NamedTuple):
    """Where the class was seen, and how sure the network was of it."""

    #: float32 [height, width] of the layer's map, from 0 to 1; all 0 where nothing in the picture speaks for the class.
    heatmap: np.ndarray
    chosen: int
    probability: float


def class_heatmap(model: keras.Model, image: np.ndarray, index: int | None = None, layer: str = "") -> ClassHeatmap:
    """Heat map of class ``index`` (the likeliest by default) over ``image`` [1, height, width, channels].

    Each channel of the map that ``layer`` (by default the last convolution) gives is weighted by the mean gradient of
    the class's probability with regard to it; of the mean over the channels what is negative is dropped and the rest
    divided by its maximum. Of a network with a single output, class 1 is that output and class 0 what it lacks to 1.

    Raises:
        NotFound: no such layer.
        InvalidInput: no such class, no convolution, or a layer whose output is no map.
    """
    path = find_layer(model, layer) if layer else layer_names(model, maps=True)[-1]
    picture, seen = ops.convert_to_tensor(image), {}

    def run(shift: Any) -> Any:
        def visit(name: str, kind: Any, output: Any) -> Any:
            if name != path:
                return output
            seen["map"] = output
            return output if shift is None else output + shift

        return _class_probabilities(run_layers(model, picture, visit))

    probabilities = ops.convert_to_numpy(run(None))[0]
    features = ops.convert_to_numpy(seen["map"])
    if features.ndim != 4:
        raise InvalidInput(f"layer '{path}' gives {list(features.shape[1:])}, not a map [height, width, channels].")
    index = int(probabilities.argmax()) if index is None else index
    if not 0 <= index < len(probabilities):
        raise InvalidInput(f"there is no class {index}.", f"{model.name} has {len(probabilities)}, from 0.")
    # The gradient with regard to a layer's output is that with regard to what is added to it, at 0: so every backend
    # can give it, and ways around the layer do no harm.
    _, slope = value_and_gradient(lambda shift: run(shift)[:, index], np.zeros_like(features))
    heat = np.maximum((features * slope.mean(axis=(0, 1, 2)))[0].mean(axis=-1), 0)
    highest = float(heat.max())
    return ClassHeatmap(
        (heat / highest if highest > 0 else heat).astype(np.float32), index, float(probabilities[index])
    )


def _class_probabilities(outputs: Any) -> Any:
    """The network's only output as probabilities [1, classes], at least two."""
    flat = keras.tree.flatten(outputs)
    if len(flat) != 1 or len(flat[0].shape) != 2:
        shapes = ", ".join(str(list(tensor.shape[1:])) for tensor in flat)
        raise InvalidInput(f"the network gives {shapes}; expected one output [classes].")
    (scores,) = flat
    return ops.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 else scores

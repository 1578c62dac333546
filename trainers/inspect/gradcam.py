# ruff: noqa: TID253 - imported only inside functions of the command line
"""Compute Grad-CAM: which parts of a picture count for a class.

Source: section 5.4.3, listings 5.42–5.44; Selvaraju et al. 2016, arXiv 1610.02391.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from bookserve.errors import InvalidInput
from trainers.inspect.gradient import value_and_gradient
from trainers.inspect.layers import find_layer, layer_names, run_layers


class ClassHeatmap(NamedTuple):
    """Where in the picture a class was found, and its probability."""

    #: float32 [height, width] of the layer's feature map, 0 to 1; all 0 if nothing in the picture counts for the class.
    heatmap: np.ndarray
    class_index: int
    probability: float


def class_heatmap(model: keras.Model, image: np.ndarray, index: int | None = None, layer: str = "") -> ClassHeatmap:
    """Heat map of class ``index`` (default: the most probable) for ``image`` [1, height, width, channels].

    Each channel of the output of ``layer`` (default: the last convolution) is weighted by the mean gradient of the
    class's probability with respect to it. The heat map is the mean over the channels, with negative values set to 0,
    divided by its maximum. For a single sigmoid output p, class 1 has probability p and class 0 has 1 − p.

    Raises:
        NotFound: the model has no such layer.
        InvalidInput: no such class, no convolution, or the layer's output is not a feature map.
    """
    path = find_layer(model, layer) if layer else layer_names(model, maps=True)[-1]
    picture, seen = ops.convert_to_tensor(image), {}

    def run(shift: Any) -> Any:
        def visit(name: str, _: Any, output: Any) -> Any:
            if name != path:
                return output
            seen["map"] = output
            return output if shift is None else output + shift

        return _class_probabilities(run_layers(model, picture, visit))

    probabilities = ops.convert_to_numpy(run(None))[0]
    features = ops.convert_to_numpy(seen["map"])
    if features.ndim != 4:
        raise InvalidInput(
            f"the output of layer '{path}' is {list(features.shape[1:])}, not a feature map [height, width, channels].",
            "Choose a convolution or pooling layer.",
        )
    index = int(probabilities.argmax()) if index is None else index
    if not 0 <= index < len(probabilities):
        raise InvalidInput(f"there is no class {index}.", f"The classes are 0 to {len(probabilities) - 1}.")
    # The gradient with respect to a layer's output equals that with respect to a term added to it, at 0. This works on
    # every backend, and also if connections skip the layer.
    _, slope = value_and_gradient(lambda shift: run(shift)[:, index], np.zeros_like(features))
    heat = np.maximum((features * slope.mean(axis=(0, 1, 2)))[0].mean(axis=-1), 0)
    highest = float(heat.max())
    return ClassHeatmap(
        (heat / highest if highest > 0 else heat).astype(np.float32), index, float(probabilities[index])
    )


def _class_probabilities(outputs: Any) -> Any:
    """The network's only output as probabilities [1, classes], with two classes for a single sigmoid."""
    flat = keras.tree.flatten(outputs)
    if len(flat) != 1 or len(flat[0].shape) != 2:
        shapes = ", ".join(str(list(tensor.shape[1:])) for tensor in flat)
        raise InvalidInput(f"the network's outputs are {shapes}; expected one output [classes].")
    (scores,) = flat
    return ops.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 else scores

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Build the two extra graphs of a convnet that explain its answers: all activations, and the part after a convolution.

``bookserve/generation/explain.py`` uses them for activations and Grad-CAM.
"""

from __future__ import annotations

from typing import Any

import keras

from bookserve.errors import InvalidInput
from bookserve.generation.explain import ACTIVATIONS, HEAD
from bookserve.steps import PictureStep
from bookserve.verb import Predict, Verb
from trainers.inspect.layers import layer_names, run_layers

#: Each graph repeats the weights in the SavedModel, so larger networks do not get these graphs.
MAX_PARAMETERS = 50_000_000


def explain_graphs(model: keras.Model, verb: Verb) -> dict[str, keras.Model]:
    """The graphs ``activations`` and ``head`` of an inference model; {} if it is not a convnet for a single picture.

    The outputs of ``activations`` have the names of the layers, in the order in which they run. ``head`` takes the
    output of the last convolution.
    """
    if not isinstance(verb, Predict) or len(model.input) != 1 or len(model.output) != 1:
        return {}
    (name,), (output,) = model.input, model.output.values()
    pictures = any(isinstance(step, PictureStep) for step in verb.inputs[name])
    if (
        not pictures
        or len(model.input[name].shape) != 4
        or len(output.shape) != 2
        or model.count_params() > MAX_PARAMETERS
    ):
        return {}
    try:
        convolutions = layer_names(model, maps=True)
    except InvalidInput:
        return {}
    seen: dict[str, Any] = {}

    def visit(path: str, layer: Any, tensor: Any) -> Any:
        if not isinstance(layer, keras.layers.InputLayer) and len(tensor.shape) in (2, 4):
            seen[path] = tensor
        return tensor

    image = keras.Input(model.input[name].shape[1:], name=name)
    (last,) = keras.tree.flatten(run_layers(model, {name: image}, visit))
    maps = [path for path, tensor in seen.items() if len(tensor.shape) == 4]
    for path in (convolutions[-1], maps[-1]):  # if connections skip the last convolution, the last feature map
        try:
            rest = keras.Model(seen[path], last)
        except ValueError:
            continue
        entry = keras.Input(seen[path].shape[1:], name=_tensor_name(path))
        head = keras.Model({_tensor_name(path): entry}, {next(iter(model.output)): rest(entry)}, name=HEAD)
        shown = {_tensor_name(path): tensor for path, tensor in seen.items()}
        return {ACTIVATIONS: keras.Model({name: image}, shown, name=ACTIVATIONS), HEAD: head}
    return {}


def _tensor_name(path: str) -> str:
    """A layer's path as a tensor name."""
    return path.replace("/", "_").replace(":", "_")

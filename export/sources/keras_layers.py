# ruff: noqa: TID253
"""Prepare the layers of a Keras model for export: what Keras would write wrongly, or share between callers.

Import this module only inside functions: it imports Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf


def fix_layers(model: Any) -> None:
    """Change how layers of a loaded model are computed, not what they compute.

    - The fused recurrent kernel of a GPU does not run on a CPU.
    - ``TimeDistributed`` over a free time axis: Keras traces the inner layer with a loop that takes the wrong axis once
      the graph is written. All steps of all rows are one batch instead, which is the same, as no layer mixes rows.
    - ``UpSampling2D`` with interpolation: Keras cannot trace it for pictures of unknown size.
    """
    for layer in model._flatten_layers():
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False
        if isinstance(layer, keras.layers.TimeDistributed):
            layer.call = partial(_call_all_steps, layer)
        if isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation != "nearest":
            layer.call = partial(_enlarge, layer)


def _call_all_steps(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """``TimeDistributed.call``: inputs [batch, time, …] → [batch, time, …]."""
    sizes = keras.ops.shape(inputs)
    arguments: dict[str, Any] = {}
    if layer.layer._call_has_mask_arg and mask is not None:
        arguments["mask"] = keras.ops.reshape(mask, (-1, *mask.shape[2:]))
    if layer.layer._call_has_training_arg:
        arguments["training"] = training
    outputs = layer.layer.call(keras.ops.reshape(inputs, (-1, *sizes[2:])), **arguments)
    return keras.ops.reshape(outputs, (*sizes[:2], *keras.ops.shape(outputs)[1:]))


def _enlarge(layer: Any, inputs: Any) -> Any:
    """``UpSampling2D.call``: pictures of any size."""
    first = layer.data_format == "channels_first"
    pictures = keras.ops.transpose(inputs, (0, 2, 3, 1)) if first else inputs
    size = tf.shape(pictures)[1:3] * tf.constant(layer.size)
    enlarged = tf.image.resize(pictures, size, layer.interpolation)
    enlarged.set_shape(
        [
            None,
            *(side and side * by for side, by in zip(pictures.shape[1:3], layer.size, strict=True)),
            pictures.shape[3],
        ]
    )
    enlarged = keras.ops.cast(enlarged, inputs.dtype)
    return keras.ops.transpose(enlarged, (0, 3, 1, 2)) if first else enlarged


class RecurrentState:
    """What the stateful recurrent layers of a model remember from one call to the next.

    It becomes an input and an output of the graph, so that callers do not share it: ``call`` takes the state and gives
    the next one. At first it is all zeros.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        #: One variable for each state tensor, and its name.
        self.variables: list[Any] = []
        self.names: list[str] = []
        for layer in model._flatten_layers():
            if not getattr(layer, "stateful", False) or not isinstance(layer, keras.layers.RNN):
                continue
            states = keras.tree.flatten(layer.states)
            self.variables += states
            self.names += [
                f"{layer.name}_state_{place}" if place else f"{layer.name}_state" for place in range(len(states))
            ]

    def call(self, inputs: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The model's outputs, and the next states in the order of ``variables``.

        No variable is changed, not even the seeds of layers that draw random numbers in training.
        """
        mapping = list(zip(self.variables, states, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = self._model(inputs, training=False)
        return outputs, [scope.get_current_value(variable) for variable in self.variables]

"""Complete the description of a Keras 2 model so that tf_keras builds what the version that wrote it had built.

tf_keras is the last Keras 2. It has all of its layers, but other defaults than the early versions, and no kernels of
cuDNN on a CPU. What only training needs is left out: the weights come from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Where tf_keras keeps the classes that it does not publish as ``keras.layers.<class>``; others are published there.
_PLACES = {
    "Sequential": "tf_keras",
    "Model": "tf_keras.src.engine.functional",
    "Functional": "tf_keras.src.engine.functional",
    "TFOpLambda": "tf_keras.src.layers.core.tf_op_layer",
    "SlicingOpLambda": "tf_keras.src.layers.core.tf_op_layer",
    "TensorFlowOpLayer": "tf_keras.src.engine.base_layer",
    "Policy": "keras.mixed_precision",
}
#: Layers that ran on cuDNN only, and the layers that compute the same everywhere.
_CUDNN: dict[str, tuple[str, dict[str, Any]]] = {
    "CuDNNLSTM": ("LSTM", {"activation": "tanh", "recurrent_activation": "sigmoid"}),
    "CuDNNGRU": ("GRU", {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}),
}
#: Layers that call operators by name. Such an operator may depend on the number of rows that was given.
_OPERATORS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
_SHAPES = ("batch_input_shape", "build_input_shape", "batch_shape")
STATELESS_NOTE = (
    "the recurrent layers were stateful; here every request starts from a state of zeros, as after reset_states()."
)


def complete(description: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a description for tf_keras, and sentences about what differs from the file.

    Expects a description that passed ``check_description``, of Keras 2, or translated from Keras 1.
    """
    kinds: set[str] = set()
    notes: list[str] = []
    completed = _complete(description, kinds, notes)
    if not kinds & set(_OPERATORS):
        _free_batch(completed)
    return completed, list(dict.fromkeys(notes))


def _complete(item: Any, kinds: set[str], notes: list[str]) -> Any:
    if isinstance(item, list):
        return [_complete(inner, kinds, notes) for inner in item]
    if not isinstance(item, dict):
        return item
    made = {key: _complete(inner, kinds, notes) for key, inner in item.items() if key != "compile_config"}
    kind, config = made.get("class_name"), made.get("config")
    if not isinstance(kind, str):
        return made
    kinds.add(kind)
    if isinstance(config, dict):
        made["config"] = config = _without_training(config)
        if kind in _CUDNN:
            made["class_name"], settings = _CUDNN[kind]
            config |= settings
        if kind in ("GRU", "GRUV1", "GRUCell"):
            config.setdefault("reset_after", False)  # tf_keras's own default is True, as TensorFlow 2's
        if config.get("stateful"):
            config["stateful"] = False
            notes.append(STATELESS_NOTE)
    if made.get("module"):
        made["module"] = _PLACES.get(made["class_name"], "keras.layers")
        if made["class_name"] == "function":
            made["module"] = "builtins"
        made["registered_name"] = None
    return made


def _without_training(config: dict[str, Any]) -> dict[str, Any]:
    left: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith("initializer"):
            left[key] = "zeros"
        elif key.endswith(("regularizer", "constraint")):
            left[key] = None
        else:
            left[key] = value
    return left


def _free_batch(item: Any) -> None:
    """Let every shape of an input begin with any number of rows."""
    if isinstance(item, list):
        for inner in item:
            _free_batch(inner)
    if isinstance(item, dict):
        for key, value in item.items():
            if key in _SHAPES and isinstance(value, list) and value and isinstance(value[0], int):
                value[0] = None
            _free_batch(value)

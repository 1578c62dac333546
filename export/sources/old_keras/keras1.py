"""Translate the description of a Keras 1 model into that of Keras 2: classes, arguments, and merged branches.

Source: Keras 2.0's ``legacy/interfaces.py`` and ``legacy/layers.py``, which did the same for code that was written for
Keras 1. Weights need no names of arguments: tf_keras translates their layouts when it is told that they are Keras 1's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bookserve.errors import InvalidInput

Config = dict[str, Any]

#: Classes that have other names; those of equal name are not listed.
_CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",
}
#: Classes of Keras 1 that no later version has.
_GONE = (
    "Highway",
    "MaxoutDense",
    "SReLU",
    "ParametricSoftplus",
    "ParametricSoftPlus",
    "Siamese",
    "SiameseHead",
    "Graph",
)
#: Arguments that have other names in every class.
_ARGUMENTS = {
    "output_dim": "units",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "bias": "use_bias",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "U_constraint": "recurrent_constraint",
    "b_constraint": "bias_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "p": "rate",
    "sigma": "stddev",
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "filter_length": "kernel_size",
    "nb_filter": "filters",
    "atrous_rate": "dilation_rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "length": "size",
    "input_dtype": "dtype",
}
#: Arguments that Keras 2 does not have, and that the answers do not depend on.
_DROPPED = (
    "weights",
    "forget_bias_init",
    "consume_less",
    "input_dim",
    "input_length",
    "gamma_regularizer",
    "beta_regularizer",
    "mode",
    "output_shape",
    "create_input_layer",
    "batch_norm",
)
#: Layers whose order of axes Keras 1 forgot to write; they have that of the others.
_WITHOUT_ORDERING = ("UpSampling2D", "UpSampling3D", "Cropping2D", "Cropping3D", "ZeroPadding2D", "ZeroPadding3D")
_DATA_FORMATS = {"th": "channels_first", "tf": "channels_last"}
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}


def from_keras_1(description: Mapping[str, Any]) -> Config:
    """Return the description of a Keras 1 model as Keras 2 would write it. What it does not know stays as it is.

    Raises:
        InvalidInput: the model has a layer that Keras 2 does not have, or is not described as Keras 1 does it.
    """
    try:
        ordering = "th" if _has(description, "dim_ordering", "th") else "tf"
        return _Translation(ordering).model(description)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidInput(
            f"the model is not described as Keras 1 does it: {type(error).__name__} {error}.",
            "Load it with Keras 1 or 2, and save it again.",
        ) from error


def _has(item: Any, key: str, value: str) -> bool:
    if isinstance(item, list):
        return any(_has(inner, key, value) for inner in item)
    return isinstance(item, dict) and (item.get(key) == value or any(_has(i, key, value) for i in item.values()))


class _Translation:
    """Translates one description; ``ordering`` is the order of axes that its pictures have, 'th' or 'tf'."""

    def __init__(self, ordering: str) -> None:
        self._ordering = ordering

    def model(self, item: Mapping[str, Any]) -> Config:
        """Translate a model with all its layers."""
        config = item["config"]
        if item["class_name"] == "Sequential":
            layers = config if isinstance(config, list) else config["layers"]
            name = item.get("name") or (config.get("name") if isinstance(config, dict) else None) or "sequential_1"
            if layers and layers[0]["class_name"] == "Merge":
                return _Branches(self).model(name, layers)
            translated = [self.layer(layer) for layer in layers]
            return {"class_name": "Sequential", "config": {"name": name, "layers": translated}}
        nodes = [
            {**self.layer(layer), "name": layer["name"], "inbound_nodes": layer["inbound_nodes"]}
            for layer in config["layers"]
        ]
        return {"class_name": "Functional", "config": {**config, "layers": nodes}}

    def layer(self, item: Mapping[str, Any]) -> Config:
        """Translate a layer, which may be a model."""
        kind, config = item["class_name"], item["config"]
        if kind in ("Sequential", "Model", "Functional"):
            return self.model(item)
        if kind in _GONE:
            raise InvalidInput(
                f"the model has the layer {kind} of Keras 1, which no later version has.",
                "Replace the layer, and train or save the model again.",
            )
        if kind == "Merge":
            return _merge(config, config["name"])
        known = {_ARGUMENTS.get(name, name): value for name, value in config.items() if name not in _DROPPED}
        if kind != "InputLayer":  # elsewhere it is the dtype of what the layer reads
            known.pop("dtype", None)
        ordering = known.pop("dim_ordering", self._ordering if kind in _WITHOUT_ORDERING else None)
        if ordering in _DATA_FORMATS:
            known["data_format"] = _DATA_FORMATS[ordering]
        if isinstance(known.get("layer"), dict):  # a wrapper
            known["layer"] = self.layer(known["layer"])
        _first_shape(config, known)
        if special := _SPECIAL.get(kind):
            special(config, known)
        if kind == "Embedding":
            known.pop("units", None)
        return {"class_name": _CLASSES.get(kind, kind), "config": known}


def _first_shape(config: Mapping[str, Any], known: Config) -> None:
    """The shape of the model's input, which a first layer of Keras 1 may give by the number of its columns."""
    if "batch_input_shape" not in known and config.get("input_dim") and "input_shape" not in known:
        known["batch_input_shape"] = [None, config["input_dim"]]
    if "input_shape" in known and "batch_input_shape" not in known:
        known["batch_input_shape"] = [None, *known.pop("input_shape")]


def _convolution(config: Mapping[str, Any], known: Config) -> None:
    kernel = [config[name] for name in ("nb_row", "nb_col") if name in config]
    kernel = kernel or [config[name] for name in ("kernel_dim1", "kernel_dim2", "kernel_dim3") if name in config]
    if kernel:
        known["kernel_size"] = kernel
    for name in ("nb_row", "nb_col", "kernel_dim1", "kernel_dim2", "kernel_dim3"):
        known.pop(name, None)
    known.pop("units", None)


def _embedding(config: Mapping[str, Any], known: Config) -> None:
    known["input_dim"], known["output_dim"] = config["input_dim"], config["output_dim"]
    known["embeddings_initializer"] = known.pop("kernel_initializer", None)
    for name in ("kernel_regularizer", "kernel_constraint", "dropout"):
        known.pop(name, None)
    if config.get("input_length"):
        known["input_length"] = config["input_length"]
    if config.get("batch_input_shape") is None:
        known["batch_input_shape"] = [None, config.get("input_length")]


def _recurrent(config: Mapping[str, Any], known: Config) -> None:
    if config.get("batch_input_shape") is None and config.get("input_dim"):
        known["batch_input_shape"] = [None, config.get("input_length"), config["input_dim"]]


def _gru(config: Mapping[str, Any], known: Config) -> None:
    _recurrent(config, known)
    known["reset_after"] = False


def _normalization(config: Mapping[str, Any], known: Config) -> None:
    if config.get("mode", 0) == 1:
        raise InvalidInput(
            "the model has a BatchNormalization of mode 1 (each row by itself), which Keras 2 no longer has.",
            "Train it with another mode.",
        )
    if config.get("mode") == 2:
        known["axis"] = -1
    known.pop("gamma_init", None)
    known.pop("beta_init", None)


def _repeat(config: Mapping[str, Any], known: Config) -> None:
    known["n"] = config["n"]


def _prelu(config: Mapping[str, Any], known: Config) -> None:
    known["alpha_initializer"] = known.pop("kernel_initializer", None)


#: Classes whose arguments need more than other names.
_SPECIAL: dict[str, Callable[[Mapping[str, Any], Config], None]] = {
    "Convolution2D": _convolution,
    "Convolution3D": _convolution,
    "AtrousConvolution2D": _convolution,
    "Deconvolution2D": _convolution,
    "SeparableConvolution2D": _convolution,
    "ConvLSTM2D": _convolution,
    "LocallyConnected2D": _convolution,
    "Embedding": _embedding,
    "LSTM": _recurrent,
    "SimpleRNN": _recurrent,
    "GRU": _gru,
    "BatchNormalization": _normalization,
    "RepeatVector": _repeat,
    "PReLU": _prelu,
}


def _merge(config: Mapping[str, Any], name: str) -> Config:
    """The layer of Keras 2 that does what a ``Merge`` of this mode does."""
    mode, axis = config.get("mode", "sum"), config.get("concat_axis", -1)
    if mode in ("dot", "cos"):
        axes = config.get("dot_axes", -1)
        axes = axes[:] if isinstance(axes, list) else axes
        return {"class_name": "Dot", "config": {"name": name, "axes": axes, "normalize": mode == "cos"}}
    if not isinstance(mode, str) or mode not in _MERGES:  # its mode is Python code
        return {"class_name": "Lambda", "config": {"name": name}}
    settings = {"axis": axis} if mode == "concat" else {}
    return {"class_name": _MERGES[mode], "config": {"name": name, **settings}}


class _Branches:
    """Turns a ``Sequential`` that begins with merged branches into a functional model."""

    def __init__(self, translation: _Translation) -> None:
        self._translation = translation
        self._layers: list[Config] = []
        self._inputs: list[list[Any]] = []

    def model(self, name: str, layers: list[Mapping[str, Any]]) -> Config:
        """A functional model of the same layers, under their own names."""
        last = self._chain(layers)
        config = {
            "name": name,
            "layers": self._layers,
            "input_layers": self._inputs,
            "output_layers": [[last, 0, 0]],
        }
        return {"class_name": "Functional", "config": config}

    def _chain(self, layers: list[Mapping[str, Any]]) -> str:
        """Append the layers of one branch; return the name of the last."""
        last = ""
        for layer in layers:
            if layer["class_name"] == "Merge":
                branches = [self._branch(branch) for branch in layer["config"]["layers"]]
                last = self._append(_merge(layer["config"], layer["config"]["name"]), branches)
                continue
            translated = self._translation.layer(layer)
            shape = translated["config"].get("batch_input_shape")
            if not last:
                last = self._input(f"{translated['config']['name']}_input", shape, translated)
            last = self._append(translated, [last])
        return last

    def _branch(self, branch: Mapping[str, Any]) -> str:
        config = branch["config"]
        if branch["class_name"] == "Sequential":
            return self._chain(config if isinstance(config, list) else config["layers"])
        raise InvalidInput(
            f"the model merges a branch of the class {branch['class_name']}; only Sequential ones are translated.",
            "Load it with Keras 1 or 2, and save it again.",
        )

    def _input(self, name: str, shape: Any, first: Config) -> str:
        kind = "int32" if first["class_name"] == "Embedding" else "float32"
        self._inputs.append([name, 0, 0])
        config = {"name": name, "batch_input_shape": shape, "dtype": kind, "sparse": False}
        self._layers.append({"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []})
        return name

    def _append(self, layer: Config, inputs: list[str]) -> str:
        name: str = layer["config"]["name"]
        nodes = [[[other, 0, 0, {}] for other in inputs]]
        self._layers.append({**layer, "name": name, "inbound_nodes": nodes})
        return name

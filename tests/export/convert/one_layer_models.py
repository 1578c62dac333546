"""One small Keras model for each class in ``keras.layers``, with random weights, for the sweep over all layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

#: Classes that are no layer of a file: abstract ones, parts of others, those that need other frameworks or files, and
#: Equalization, of which Keras itself cannot build a functional model.
NOT_A_MODEL = {
    "Equalization",
    "FlaxLayer",
    "GRUCell",
    "InputLayer",
    "JaxLayer",
    "LSTMCell",
    "Lambda",
    "Layer",
    "MaxNumBoundingBoxes",
    "Pipeline",
    "SimpleRNNCell",
    "StackedRNNCells",
    "TFSMLayer",
    "TorchModuleWrapper",
    "Wrapper",
}
_FLAT, _SERIES, _PICTURE, _VOLUME = (6,), (6, 4), (8, 8, 4), (4, 4, 4, 2)
_COLOURS = (8, 8, 3)
#: Layers whose arguments do not follow from their names: shapes of the inputs, and arguments.
_SPECIAL: dict[str, tuple[tuple[tuple[int | None, ...], ...], dict[str, Any]]] = {
    "Activation": ((_FLAT,), {"activation": "gelu"}),
    "AdaptiveAveragePooling1D": ((_SERIES,), {"output_size": 3}),
    "AdaptiveAveragePooling2D": ((_PICTURE,), {"output_size": 3}),
    "AdaptiveAveragePooling3D": ((_VOLUME,), {"output_size": 2}),
    "AdaptiveMaxPooling1D": ((_SERIES,), {"output_size": 3}),
    "AdaptiveMaxPooling2D": ((_PICTURE,), {"output_size": 3}),
    "AdaptiveMaxPooling3D": ((_VOLUME,), {"output_size": 2}),
    "AlphaDropout": ((_FLAT,), {"rate": 0.5}),
    "AugMix": ((_COLOURS,), {"value_range": (0, 1)}),
    "AutoContrast": ((_COLOURS,), {"value_range": (0, 1)}),
    "CategoryEncoding": ((_FLAT,), {"num_tokens": 2, "output_mode": "multi_hot"}),
    "CenterCrop": ((_COLOURS,), {"height": 4, "width": 5}),
    "ContrastLimitedAdaptiveHistogramEqualization": ((_COLOURS,), {"value_range": (0, 1)}),
    "Dense": ((_FLAT,), {"units": 3, "activation": "tanh"}),
    "Discretization": ((_FLAT,), {"bin_boundaries": [0.2, 0.4, 0.8]}),
    "Dropout": ((_FLAT,), {"rate": 0.5}),
    "EinsumDense": ((_SERIES,), {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d"}),
    "Embedding": (((None,),), {"input_dim": 7, "output_dim": 3, "mask_zero": True}),
    "GaussianDropout": ((_FLAT,), {"rate": 0.5}),
    "GaussianNoise": ((_FLAT,), {"stddev": 0.5}),
    "GroupNormalization": ((_PICTURE,), {"groups": 2}),
    "HashedCrossing": (((1,), (1,)), {"num_bins": 5}),
    "Hashing": (((3,),), {"num_bins": 5}),
    "IntegerLookup": (((3,),), {"vocabulary": [1, 5, 30]}),
    "Masking": (((None, 4),), {"mask_value": 0.0}),
    "MelSpectrogram": (((400,),), {"fft_length": 128, "sequence_stride": 64, "num_mel_bins": 8}),
    "Normalization": ((_SERIES,), {"mean": [0.1, 0.2, 0.3, 0.4], "variance": [1.0, 2.0, 3.0, 4.0]}),
    "Permute": ((_SERIES,), {"dims": (2, 1)}),
    "RandomElasticTransform": ((_COLOURS,), {"value_range": (0, 1)}),
    "RandomCrop": ((_COLOURS,), {"height": 4, "width": 5}),
    "RepeatVector": ((_FLAT,), {"n": 3}),
    "Rescaling": ((_PICTURE,), {"scale": 0.5, "offset": 0.1}),
    "Reshape": ((_SERIES,), {"target_shape": (3, 8)}),
    "Resizing": (((None, None, 3),), {"height": 5, "width": 7}),
    "ReversibleEmbedding": (((None,),), {"input_dim": 7, "output_dim": 3}),
    "STFTSpectrogram": (((128, 1),), {"frame_length": 32, "frame_step": 16, "fft_length": 32}),
    "Solarization": ((_COLOURS,), {"value_range": (0, 1)}),
    "StringLookup": (((3,),), {"vocabulary": ["one", "two"]}),
    "TextVectorization": (((1,),), {"vocabulary": ["one", "two"], "output_sequence_length": 4}),
    "UpSampling2D": (((None, None, 3),), {"size": 2, "interpolation": "bilinear"}),
    "AdditiveAttention": ((_SERIES, _SERIES), {}),
    "Attention": ((_SERIES, _SERIES), {"use_scale": True}),
    "Concatenate": ((_FLAT, _FLAT), {}),
    "Dot": ((_FLAT, _FLAT), {"axes": 1}),
    "PReLU": ((_PICTURE,), {"shared_axes": (1, 2)}),
    "Softmax": ((_SERIES,), {"axis": 1}),
    "UnitNormalization": ((_FLAT,), {}),
}
_DTYPES = {"Embedding": "int32", "ReversibleEmbedding": "int32", "CategoryEncoding": "int32", "IntegerLookup": "int64"}
_STRINGS = {"StringLookup", "TextVectorization", "Hashing", "HashedCrossing"}
_RANGES = {
    "RandomBrightness": {"factor": 0.2},
    "RandomColorDegeneration": {"factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomGrayscale": {"factor": 0.2},
    "RandomHue": {"factor": 0.2, "value_range": (0, 1)},
    "RandomInvert": {"factor": 0.2, "value_range": (0, 1)},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.2},
    "RandomSaturation": {"factor": 0.2},
    "RandomSharpness": {"factor": 0.2, "value_range": (0, 1)},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
}


def layer_classes() -> dict[str, type]:
    """The layers of Keras by name, each class once."""
    import keras

    found = {name: item for name, item in sorted(vars(keras.layers).items()) if inspect.isclass(item)}
    return {
        name: item for name, item in found.items() if issubclass(item, keras.layers.Layer) and name == item.__name__
    }


def build(name: str, layer: type) -> Any:
    """A model with this one layer, between inputs and outputs, with random weights."""
    import keras

    special = _wrapped(keras).get(name)
    shapes, arguments = _SPECIAL.get(name) or _usual(name)
    dtype = "string" if name in _STRINGS else _DTYPES.get(name, "float32")
    inputs = [keras.Input(shape, dtype=dtype, name=f"x{place}") for place, shape in enumerate(shapes)]
    if name == "GroupQueryAttention" or name == "MultiHeadAttention":
        output = layer(**arguments)(inputs[0], inputs[1])
    elif special:
        output = special()(inputs[0])
    else:
        output = layer(**arguments)(inputs if len(inputs) > 1 else inputs[0])
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], output)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.dtype.startswith("float") and name not in ("Normalization",):
            variable.assign(rng.uniform(0.1, 0.9, variable.shape))
    return model


def _usual(name: str) -> tuple[tuple[tuple[int | None, ...], ...], dict[str, Any]]:
    """Inputs and arguments that follow from the name of a layer."""
    if name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"):
        return (_FLAT, _FLAT), {}
    if name in ("CutMix", "MixUp", "RandAugment") or name.startswith("Random"):
        ranged = {"value_range": (0, 1)} if name in ("RandAugment", "RandomColorJitter", "RandomErasing") else {}
        return (_COLOURS,), {**_RANGES.get(name, {}), **ranged}
    place = {"1D": _SERIES, "2D": _PICTURE, "3D": _VOLUME}.get(name[-2:]) or (
        {"1DT": _SERIES, "2DT": _PICTURE, "3DT": _VOLUME}.get(name[4:7])
    )
    if name.startswith("SpatialDropout"):
        return (place or (),), {"rate": 0.5}
    if name.startswith(("AveragePooling", "MaxPooling")):
        return (place or (),), {"pool_size": 2}
    if name.startswith("ConvLSTM"):
        return ((3, *place),) if place else (), {"filters": 2, "kernel_size": 2}
    if name.startswith("Depthwise"):
        return (place or (),), {"kernel_size": 2, "depth_multiplier": 2}
    if name.startswith(("Conv", "Separable")):
        return (place or (),), {"filters": 4, "kernel_size": 2}
    if name in ("LSTM", "GRU", "SimpleRNN"):
        return ((None, 4),), {"units": 3}
    if name in ("MultiHeadAttention", "GroupQueryAttention"):
        many = (
            {"num_heads": 2, "key_dim": 3}
            if name[0] == "M"
            else {
                "head_dim": 3,
                "num_query_heads": 4,
                "num_key_value_heads": 2,
            }
        )
        return ((None, 4), (None, 4)), many
    return (place or _FLAT,), {}


def _wrapped(keras: Any) -> dict[str, Callable[[], Any]]:
    layers = keras.layers
    return {
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        "RNN": lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]),
        "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Dense(3)),
        "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(2)),
    }


_SPECIAL["Bidirectional"] = _SPECIAL["RNN"] = _SPECIAL["TimeDistributed"] = (((None, 4),), {})

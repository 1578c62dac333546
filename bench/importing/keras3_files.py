"""Write the files of Keras 3, and what Keras 3 answers: ``python keras3_files.py FOLDER``.

Each model becomes ``<name>.keras``, ``<name>.json`` with ``<name>.weights.h5``, and where Keras can write it,
``<name>.h5``; ``--saved-model`` writes ``model.export()`` instead. ``<name>.npz`` holds inputs and answers in Keras's
order, in that of their names for a SavedModel, which knows no other. It imports nothing else of the project.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers as c
from keras import ops

MODELS: dict[str, Callable[[], keras.Model]] = {}
WORDS = ["oak", "pine", "elm", "yew", "birch"]


def model(function: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
    """Enter a function that builds a model."""
    MODELS[function.__name__] = function
    return function


def stack(*parts: Any) -> keras.Model:
    return keras.Sequential(list(parts))


@model
def dense() -> keras.Model:
    return stack(c.Input((5,)), c.Dense(8, "relu"), c.BatchNormalization(), c.Dropout(0.5), c.Dense(3, "softmax"))


@model
def activations() -> keras.Model:
    names = "elu selu softplus softsign tanh sigmoid hard_sigmoid silu hard_silu gelu leaky_relu relu6 mish celu "
    names += "log_softmax log_sigmoid hard_tanh soft_shrink hard_shrink tanh_shrink squareplus exponential"
    parts = [part for name in names.split() for part in (c.Dense(6), c.Activation(name), c.Dense(6))]
    return stack(c.Input((6,)), *parts)


@model
def advanced_activations() -> keras.Model:
    return stack(
        c.Input((4, 6)),
        c.PReLU(shared_axes=[1]),
        c.ELU(0.5),
        c.ReLU(6.0, 0.1, 0.2),
        c.LeakyReLU(0.1),
        c.Softmax(axis=1),
    )


@model
def cnn() -> keras.Model:
    return stack(
        c.Input((20, 20, 3)),
        c.Conv2D(8, 3, activation="relu", groups=1),
        c.Conv2D(8, 3, groups=4, padding="same"),
        c.DepthwiseConv2D(3, depth_multiplier=2, strides=2),
        c.SeparableConv2D(6, 3),
        c.GroupNormalization(3),
        c.UpSampling2D(2, interpolation="bilinear"),
        c.Conv2DTranspose(4, 3, strides=2, padding="same"),
        c.AveragePooling2D(2),
        c.GlobalMaxPooling2D(),
        c.Dense(2),
    )


@model
def other_ranks() -> keras.Model:
    x = c.Input((14, 4))
    y = c.Conv1DTranspose(4, 3, strides=2)(c.SeparableConv1D(4, 3)(c.DepthwiseConv1D(3)(x)))
    y = c.Reshape((3, 7, 4, 1))(c.Cropping1D(1)(c.ZeroPadding1D(1)(y)))
    y = c.Conv3D(2, 2, padding="same")(y)
    return keras.Model(x, c.Dense(2)(c.Flatten()(c.MaxPooling3D(2)(c.Conv3DTranspose(2, 2)(y)))))


@model
def pictures() -> keras.Model:
    return stack(
        c.Input((None, None, 3)),
        c.Resizing(24, 24),
        c.RandomFlip(),
        c.RandomRotation(0.1),
        c.CenterCrop(16, 16),
        c.Rescaling(1 / 127.5, offset=-1),
        c.Conv2D(4, 3, activation="relu"),
        c.GlobalAveragePooling2D(keepdims=True),
        c.Flatten(),
    )


@model
def recurrent() -> keras.Model:
    backward = c.LSTM(3, return_sequences=True, go_backwards=True)
    return stack(
        c.Input((None, 3)),
        c.Bidirectional(c.LSTM(4, return_sequences=True), merge_mode="ave"),
        c.Bidirectional(c.GRU(3, return_sequences=True), backward_layer=backward),
        c.SimpleRNN(5, return_sequences=True),
        c.TimeDistributed(c.Dense(3)),
        c.GRU(3, reset_after=False),
        c.Dense(1),
    )


@model
def masked() -> keras.Model:
    x = c.Input((None,), dtype="int32", name="tokens")
    y = c.Embedding(40, 6, mask_zero=True)(x)
    return keras.Model(x, c.Dense(2)(c.concatenate([c.LSTM(4)(y), c.Bidirectional(c.GRU(3))(y)])))


@model
def masking() -> keras.Model:
    return stack(c.Input((6, 3)), c.Masking(0.0), c.LSTM(4, return_sequences=True), c.GlobalAveragePooling1D())


@model
def cells() -> keras.Model:
    return stack(c.Input((5, 3)), c.RNN([c.LSTMCell(4), c.GRUCell(3), c.SimpleRNNCell(2)]), c.Dense(2))


@model
def states() -> keras.Model:
    given, so_far = c.Input((None, 5), name="given"), c.Input((None, 6), name="so far")
    _, h, s = c.LSTM(7, return_state=True)(given)
    decoded, h, s = c.LSTM(7, return_sequences=True, return_state=True)(so_far, initial_state=[h, s])
    return keras.Model([given, so_far], [c.Dense(6, activation="softmax", name="next")(decoded), h, s])


@model
def conv_lstm() -> keras.Model:
    return stack(c.Input((4, 8, 8, 1)), c.ConvLSTM2D(3, 3, return_sequences=True), c.ConvLSTM2D(2, 3), c.Flatten())


@model
def transformer() -> keras.Model:
    x = c.Input((None,), dtype="int32")
    y = c.Embedding(40, 8)(x)
    y = c.LayerNormalization()(y + c.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True))
    y = c.RMSNormalization()(y + c.Dense(8)(c.Dense(16, "gelu")(y)))
    y = c.GroupQueryAttention(4, 4, 2)(y, y)
    return keras.Model(x, c.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(y))


@model
def attention() -> keras.Model:
    a, b = c.Input((4, 6)), c.Input((5, 6))
    return keras.Model([a, b], [c.Attention(use_scale=True)([a, b]), c.AdditiveAttention()([a, b])])


@model
def columns() -> keras.Model:
    inputs = {
        "Sepal.Length": c.Input((1,), name="Sepal.Length"),
        "2nd col": c.Input((1,), name="2nd col"),
        "class": c.Input((1,), name="class", dtype="string"),
    }
    kinds = c.StringLookup(vocabulary=WORDS, output_mode="one_hot")(inputs["class"])
    numbers = c.concatenate([inputs["Sepal.Length"], inputs["2nd col"]])
    return keras.Model(inputs, {"price": c.Dense(1)(c.concatenate([numbers, kinds]))})


@model
def tables() -> keras.Model:
    words, numbers = c.Input((3,), dtype="string", name="words"), c.Input((2,), dtype="int64", name="numbers")
    one = c.Embedding(8, 3)(c.StringLookup(vocabulary=WORDS)(words))
    two = c.IntegerLookup(vocabulary=[3, 5, 9], output_mode="multi_hot")(numbers)
    three = c.Hashing(6, output_mode="count")(words)
    return keras.Model([words, numbers], c.Dense(2)(c.concatenate([c.Flatten()(one), two, three])))


@model
def text() -> keras.Model:
    layer = c.TextVectorization(output_sequence_length=6)
    layer.adapt(["the oak and the pine", "an elm, a yew and a birch"])
    return stack(c.Input((1,), dtype="string"), layer, c.Embedding(14, 4), c.GlobalAveragePooling1D(), c.Dense(1))


@model
def numbers() -> keras.Model:
    layer = c.Normalization()
    layer.adapt(np.arange(20, dtype="float32").reshape(5, 4))
    x = c.Input((4,))
    buckets = c.Discretization(bin_boundaries=[-1.0, 0.0, 1.5], output_mode="one_hot")(x[:, :1])
    return keras.Model(x, c.Dense(2)(c.concatenate([layer(x), buckets])))


@model
def operators() -> keras.Model:
    x = c.Input((4, 6))
    y = ops.concatenate([ops.exp(-ops.abs(x)), ops.log1p(ops.square(x)), ops.cumsum(x, 1), ops.roll(x, 1, 2)], axis=-1)
    best = ops.cast(ops.argmax(y, axis=-1), "float32")
    z = ops.where(y > 0.5, ops.logaddexp(y, 0.1 * y), ops.clip(y, -1, 1)) @ ops.transpose(y, (0, 2, 1))
    return keras.Model(x, [ops.mean(z, axis=1), best, ops.einsum("bij,bkj->bik", y, y), ops.erf(y), ops.top_k(y, 2)[0]])


@model
def nested() -> keras.Model:
    inner = stack(c.Input((10, 10, 3)), c.Conv2D(4, 3), c.BatchNormalization(), c.MaxPooling2D(2))
    shared = keras.Sequential([inner, c.Flatten(), c.Dense(4)], name="shared_tower")
    a, b = c.Input((10, 10, 3), name="left"), c.Input((10, 10, 3), name="right")
    one, two = shared(a), shared(b)
    return keras.Model([a, b], [c.Dot(1, normalize=True, name="alike")([one, two]), c.subtract([one, two])])


@model
def many_outputs() -> keras.Model:
    x = c.Input((6,))
    return keras.Model(x, [c.Dense(1 + place % 3, name=f"o_{place}")(x) for place in range(12)])


@model
def same_tensor_twice() -> keras.Model:
    x = c.Input((4,), name="x")
    y = c.Dense(3, name="y")(x)
    return keras.Model(x, [y, y, x])


@model
def merges() -> keras.Model:
    a, b = c.Input((4, 3)), c.Input((4, 3))
    parts = [c.Add(), c.Multiply(), c.Average(), c.Maximum(), c.Minimum(), c.Subtract(), c.Concatenate(axis=1)]
    return keras.Model(
        [a, b], c.Concatenate(axis=1)([part([a, b]) for part in parts] + [c.Dot((2, 2))([a, b])[..., :3]])
    )


@model
def half() -> keras.Model:
    return stack(c.Input((6,)), c.Dense(8, "relu", dtype="mixed_float16"), c.Dense(2, dtype="float32"))


@model
def wide_floats() -> keras.Model:
    return stack(c.Input((6,), dtype="float64"), c.Dense(8, "tanh", dtype="float64"), c.Dense(2, dtype="float64"))


@model
def compiled() -> keras.Model:
    made = stack(c.Input((4,)), c.Dense(6, "relu", kernel_regularizer="l2", kernel_constraint="max_norm"), c.Dense(1))
    made.compile("adam", "mse", metrics=["mae"])
    made.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
    return made


@model
def spectral() -> keras.Model:
    return stack(
        c.Input((8, 8, 2)), c.SpectralNormalization(c.Conv2D(3, 3)), c.UnitNormalization(), c.Permute((3, 1, 2))
    )


@model
def mobile() -> keras.Model:
    return keras.applications.MobileNetV2(input_shape=(64, 64, 3), alpha=0.35, weights=None, classes=5)


def made_weights(made: keras.Model, seed: int) -> None:
    """Weights that are unlike any that a layer begins with; variances are positive."""
    rng = np.random.default_rng(seed)
    for weight in made.trainable_weights + [w for w in made.weights if "moving" in w.path]:
        size = max(1, int(np.prod(weight.shape[:-1]))) if len(weight.shape) > 1 else 10
        value = rng.normal(0, 1.2 / np.sqrt(size), weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)


def made_rows(made: keras.Model) -> list[np.ndarray]:
    """Three rows for every input: ids below 10, words and unknown words, other numbers else."""
    rng = np.random.default_rng(7)
    rows = []
    for tensor in made.inputs:
        size = [3, *(9 if axis is None else axis for axis in tensor.shape[1:])]
        size = [3, 30, 32, 3] if tensor.shape[1:] == (None, None, 3) else size
        if tensor.dtype == "string":
            rows.append(rng.choice([*WORDS, "the oak", "fir"], size))
        else:
            ids = "int" in tensor.dtype
            rows.append((rng.integers(0, 10, size) if ids else rng.normal(0, 1, size)).astype(tensor.dtype))
    return rows


def write(folder: Path, name: str, build: Callable[[], keras.Model], saved_model: bool) -> None:
    """Build a model and write its files."""
    made = build()
    made_weights(made, sum(map(ord, name)))
    rows = made_rows(made)
    structure = made.inputs[0] if isinstance(made, keras.Sequential) else made.input
    given = [keras.ops.convert_to_tensor(row) for row in rows]
    answers = keras.tree.flatten(made(keras.tree.pack_sequence_as(structure, given), training=False))
    inputs = [tensor.name for tensor in made.inputs]
    if saved_model:
        made.export(folder / name, verbose=False)
        rows = [rows[place] for place in sorted(range(len(rows)), key=inputs.__getitem__)]
    else:
        made.save(folder / f"{name}.keras")
        made.save_weights(folder / f"{name}.weights.h5")
        (folder / f"{name}.json").write_text(made.to_json())
        if not any(tensor.dtype == "string" for tensor in made.inputs):  # Keras's own HDF5 has no tables
            made.save(folder / f"{name}.h5")
            try:
                keras.saving.load_model(folder / f"{name}.h5", compile=False)
            except Exception as error:  # Keras 3 does not read operators, and some layers, from its own HDF5
                (folder / f"{name}.h5").unlink()
                print(f"{name}.h5: left out, Keras cannot read it: {str(error).splitlines()[0][:150]}")
    arrays = {f"x{place}": row for place, row in enumerate(rows)}
    np.savez(folder / name, **arrays, **{f"y{place}": np.asarray(answer) for place, answer in enumerate(answers)})


def main() -> None:
    """Write all models; one that this version cannot build or write is left out."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--only", nargs="*", default=[], help="names of models")
    options.add_argument("--saved-model", action="store_true", help="write SavedModels")
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name, build in MODELS.items():
        if chosen.only and name not in chosen.only:
            continue
        keras.backend.clear_session()
        try:
            write(chosen.folder, name, build, chosen.saved_model)
        except Exception as error:
            print(f"{name}: left out: {type(error).__name__}: {str(error).splitlines()[0][:150]}")


if __name__ == "__main__":
    main()

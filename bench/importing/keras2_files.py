"""Write model files with the Keras of this environment, and what that Keras answers: ``python keras2_files.py FOLDER``.

Runs with every Keras 2: the package ``keras`` 2.x, ``tensorflow.keras`` of TensorFlow 1.15 to 2.15 (the default), or
``tf_keras``; ``--keras PACKAGE`` chooses. It imports nothing else of the project, because its environment has nothing
else of it. For every model it writes ``<name>.h5`` and, from Keras 2.12 on, ``<name>.keras``; with ``<name>.npz``: the
inputs ``x0``, ``x1``, … and the answers ``y0``, ``y1``, …. A model that the version cannot build is left out.
"""

import argparse
import importlib
import os

import numpy as np

MODELS = {}


def model(function):
    """Enter a function that builds a model."""
    MODELS[function.__name__] = function
    return function


def layers():
    return KERAS.layers


def stack(*parts):
    return KERAS.models.Sequential(list(parts))


@model
def dense(c):
    return stack(c.Dense(8, activation="relu", input_shape=(5,)), c.Dropout(0.5), c.Dense(3, activation="softmax"))


@model
def dense_compiled(c):
    made = stack(c.Dense(8, activation="relu", input_shape=(5,)), c.Dense(1, activation="sigmoid"))
    made.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    made.fit(np.ones((4, 5), "float32"), np.ones((4, 1), "float32"), verbose=0)
    return made


@model
def dense_without_shape(c):
    made = stack(c.Dense(8, activation="relu"), c.Dense(3))
    made.compile(optimizer="adam", loss="mse")
    made.fit(np.ones((4, 5), "float32"), np.ones((4, 3), "float32"), verbose=0)
    return made


@model
def activations(c):
    names = ["elu", "selu", "softplus", "softsign", "tanh", "sigmoid", "hard_sigmoid", "linear", "exponential"]
    return stack(c.Dense(6, input_shape=(6,)), *[part for n in names for part in (c.Activation(n), c.Dense(6))])


@model
def later_activations(c):
    names = ["swish", "gelu"]
    return stack(c.Dense(6, input_shape=(6,)), *[part for n in names for part in (c.Activation(n), c.Dense(6))])


@model
def activation_layers(c):
    return stack(
        c.Dense(6, input_shape=(6,)),
        c.LeakyReLU(0.2),
        c.Dense(6),
        c.PReLU(),
        c.Dense(6),
        c.ELU(0.7),
        c.Dense(6),
        c.ThresholdedReLU(0.1),
        c.Dense(6),
        c.ReLU(max_value=6.0),
        c.Dense(6),
        c.Softmax(),
    )


@model
def hard_sigmoid(c):
    return stack(c.Dense(4, activation="hard_sigmoid", input_shape=(3,)))


@model
def batch_norm(c):
    return stack(
        c.Dense(6, input_shape=(4,)), c.BatchNormalization(), c.Activation("relu"), c.GaussianNoise(0.1), c.Dense(2)
    )


@model
def cnn(c):
    return stack(
        c.Conv2D(8, (3, 3), activation="relu", input_shape=(28, 28, 1)),
        c.MaxPooling2D((2, 2)),
        c.Conv2D(8, (3, 3), activation="relu", padding="same", strides=2),
        c.BatchNormalization(),
        c.AveragePooling2D((2, 2)),
        c.Flatten(),
        c.Dense(10, activation="softmax"),
    )


@model
def cnn_of_any_size(c):
    return stack(
        c.Conv2D(4, 3, dilation_rate=2, activation="relu", input_shape=(None, None, 3)),
        c.GlobalAveragePooling2D(),
        c.Dense(2),
    )


@model
def separable(c):
    return stack(
        c.SeparableConv2D(6, 3, activation="relu", input_shape=(12, 12, 3)),
        c.DepthwiseConv2D(3, depth_multiplier=2),
        c.GlobalMaxPooling2D(),
        c.Dense(2),
    )


@model
def separable_1d(c):
    return stack(c.SeparableConv1D(6, 3, input_shape=(12, 3)), c.GlobalAveragePooling1D(), c.Dense(2))


@model
def pad_crop_upsample(c):
    return stack(
        c.ZeroPadding2D(((1, 2), (0, 3)), input_shape=(6, 6, 2)),
        c.Cropping2D(1),
        c.UpSampling2D(2),
        c.Conv2D(2, 3),
        c.Permute((3, 1, 2)),
        c.Flatten(),
        c.Dense(4),
        c.RepeatVector(3),
        c.Reshape((4, 3)),
    )


@model
def transposed(c):
    return stack(
        c.Dense(7 * 7 * 4, activation="relu", input_shape=(2,)),
        c.Reshape((7, 7, 4)),
        c.Conv2DTranspose(6, 3, strides=(2, 2), padding="same", activation="relu"),
        c.Conv2D(1, 3, padding="same", activation="sigmoid"),
    )


@model
def conv_1d(c):
    return stack(
        c.Embedding(50, 8, input_length=20),
        c.Conv1D(6, 5, activation="relu"),
        c.MaxPooling1D(2),
        c.Conv1D(6, 3, padding="causal"),
        c.GlobalMaxPooling1D(),
        c.Dense(1, activation="sigmoid"),
    )


@model
def conv_3d(c):
    return stack(c.Conv3D(4, 2, input_shape=(5, 5, 5, 2)), c.MaxPooling3D(2), c.GlobalAveragePooling3D(), c.Dense(2))


@model
def locally_connected(c):
    return stack(
        c.LocallyConnected2D(3, 3, input_shape=(8, 8, 2)),
        c.Reshape((36, 3)),
        c.LocallyConnected1D(2, 3),
        c.Flatten(),
        c.Dense(2),
    )


@model
def embedding(c):
    return stack(c.Embedding(30, 4, input_length=7), c.Flatten(), c.Dense(1, activation="sigmoid"))


@model
def masked_lstm(c):
    return stack(c.Embedding(30, 4, mask_zero=True, input_length=9), c.LSTM(5), c.Dense(2))


@model
def lstm(c):
    return stack(c.LSTM(6, input_shape=(10, 3)), c.Dense(4, activation="softmax"))


@model
def lstm_of_any_length(c):
    return stack(
        c.LSTM(6, input_shape=(None, 3), return_sequences=True, dropout=0.2, recurrent_dropout=0.2),
        c.LSTM(5, unit_forget_bias=False, recurrent_activation="sigmoid"),
        c.Dense(2),
    )


@model
def gru(c):
    return stack(c.GRU(6, input_shape=(None, 3), return_sequences=True), c.GRU(4, go_backwards=True), c.Dense(1))


@model
def gru_reset_after(c):
    return stack(c.GRU(6, input_shape=(8, 3), reset_after=True, recurrent_activation="sigmoid"), c.Dense(1))


@model
def gru_reset_before(c):
    return stack(c.GRU(6, input_shape=(8, 3), reset_after=False), c.Dense(1))


@model
def simple_rnn(c):
    return stack(c.Embedding(40, 5), c.SimpleRNN(6, return_sequences=True), c.SimpleRNN(4), c.Dense(1))


@model
def bidirectional(c):
    return stack(
        c.Bidirectional(c.LSTM(4, return_sequences=True), input_shape=(7, 3)),
        c.Bidirectional(c.GRU(3), merge_mode="sum"),
        c.Dense(2),
    )


@model
def rnn_of_cells(c):
    cells = [c.LSTMCell(4), c.GRUCell(3)]
    return stack(c.RNN(cells, input_shape=(6, 2)), c.Dense(1))


@model
def stateful(c):
    return stack(c.LSTM(4, stateful=True, batch_input_shape=(3, 5, 2)), c.Dense(1))


@model
def conv_lstm(c):
    return stack(
        c.ConvLSTM2D(3, 3, padding="same", return_sequences=True, input_shape=(4, 8, 8, 1)),
        c.BatchNormalization(),
        c.ConvLSTM2D(2, 3),
        c.Flatten(),
        c.Dense(2),
    )


@model
def time_distributed(c):
    return stack(
        c.TimeDistributed(c.Conv2D(3, 3, activation="relu"), input_shape=(4, 8, 8, 1)),
        c.TimeDistributed(c.BatchNormalization()),
        c.TimeDistributed(c.Flatten()),
        c.LSTM(4),
        c.Dense(1),
    )


@model
def time_distributed_any_time(c):
    return stack(c.TimeDistributed(c.Dense(3, activation="relu"), input_shape=(None, 4)), c.TimeDistributed(c.Dense(2)))


@model
def fixed_batch(c):
    return stack(c.Dense(4, batch_input_shape=(3, 5)), c.Dense(1))


@model
def two_inputs(c):
    text, number = c.Input((9,), name="text", dtype="int32"), c.Input((3,), name="numbers")
    both = c.concatenate([c.LSTM(4)(c.Embedding(30, 4)(text)), c.Dense(4, activation="relu")(number)], axis=-1)
    return KERAS.models.Model([text, number], c.Dense(2, activation="softmax", name="class")(both))


@model
def three_outputs(c):
    x = c.Input((6,), name="posts")
    hidden = c.Dense(5, activation="relu")(x)
    outputs = [
        c.Dense(1, name="age")(hidden),
        c.Dense(4, activation="softmax", name="income")(hidden),
        c.Dense(1, activation="sigmoid", name="gender")(hidden),
    ]
    return KERAS.models.Model(x, outputs)


@model
def merges(c):
    a, b = c.Input((4,)), c.Input((4,))
    x, y = c.Dense(5)(a), c.Dense(5)(b)
    parts = [c.add([x, y]), c.multiply([x, y]), c.average([x, y]), c.maximum([x, y]), c.dot([x, y], axes=1)]
    return KERAS.models.Model([a, b], c.Dense(2)(c.concatenate(parts)))


@model
def more_merges(c):
    a, b = c.Input((4,)), c.Input((4,))
    x, y = c.Dense(5)(a), c.Dense(5)(b)
    parts = [c.subtract([x, y]), c.minimum([x, y]), c.dot([x, y], axes=1, normalize=True)]
    return KERAS.models.Model([a, b], c.Dense(2)(c.concatenate(parts)))


@model
def nested(c):
    base_in = c.Input((10, 10, 3))
    x = c.BatchNormalization()(c.Conv2D(4, 3, activation="relu")(base_in))
    base = KERAS.models.Model(base_in, c.MaxPooling2D(2)(x))
    base.trainable = False
    return stack(base, c.Flatten(), c.Dense(5, activation="relu"), c.Dense(1, activation="sigmoid"))


@model
def nested_twice(c):
    inner = stack(c.Dense(4, input_shape=(3,)), c.BatchNormalization())
    middle_in = c.Input((3,))
    middle = KERAS.models.Model(middle_in, c.Dense(2)(inner(middle_in)))
    a, b = c.Input((3,)), c.Input((3,))
    return KERAS.models.Model([a, b], c.concatenate([middle(a), middle(b)]))


@model
def shared(c):
    left, right = c.Input((None, 3)), c.Input((None, 3))
    lstm = c.LSTM(4)
    merged = c.concatenate([lstm(left), lstm(right)], axis=-1)
    return KERAS.models.Model([left, right], c.Dense(1, activation="sigmoid")(merged))


@model
def residual(c):
    x = c.Input((12, 12, 3))
    y = c.Conv2D(4, 3, activation="relu", padding="same")(x)
    y = c.add([c.Conv2D(4, 3, padding="same")(y), c.Conv2D(4, 1, padding="same")(x)])
    branches = [c.Conv2D(2, 1, strides=2)(y), c.Conv2D(2, 3, strides=2, padding="same")(y)]
    return KERAS.models.Model(x, c.Dense(2)(c.GlobalAveragePooling2D()(c.concatenate(branches))))


@model
def sequence_to_sequence(c):
    given, so_far = c.Input((None, 5)), c.Input((None, 6))
    _, h, s = c.LSTM(7, return_state=True)(given)
    decoded = c.LSTM(7, return_sequences=True)(so_far, initial_state=[h, s])
    return KERAS.models.Model([given, so_far], c.Dense(6, activation="softmax")(decoded))


@model
def mobile(c):
    return KERAS.applications.MobileNet(input_shape=(64, 64, 3), alpha=0.25, weights=None, classes=5)


@model
def attention(c):
    a, b = c.Input((4, 6)), c.Input((5, 6))
    parts = [c.Flatten()(c.Attention()([a, b])), c.Flatten()(c.AdditiveAttention()([a, b]))]
    return KERAS.models.Model([a, b], c.Dense(2)(c.concatenate(parts)))


@model
def transformer(c):
    x = c.Input((6, 8))
    y = c.LayerNormalization()(c.add([x, c.MultiHeadAttention(2, 4)(x, x)]))
    return KERAS.models.Model(x, c.Dense(2)(c.GlobalAveragePooling1D()(y)))


@model
def later_layers(c):
    return stack(
        c.Rescaling(1 / 255.0, input_shape=(16, 16, 3)),
        c.Resizing(12, 12),
        c.CenterCrop(8, 8),
        c.Conv2D(4, 3),
        c.GroupNormalization(2),
        c.UnitNormalization(),
        c.RandomFlip(),
        c.Flatten(),
        c.EinsumDense("ab,bc->ac", output_shape=3),
    )


@model
def operators(c):
    import tensorflow as tf

    x = c.Input((6,))
    y = tf.nn.relu(c.Dense(6)(x) * 2.0 - 0.1)
    y = tf.concat([y, tf.reduce_mean(y, axis=1, keepdims=True), y[:, 1:3]], axis=1)
    return KERAS.models.Model(x, c.Dense(2)(tf.math.exp(-y)))


@model
def named_functions(c):
    import tensorflow as tf

    return stack(
        c.Dense(6, activation=tf.nn.relu, input_shape=(4,)),
        c.Dense(4, activation=tf.nn.softmax),
        c.Dense(2, tf.nn.tanh),
    )


@model
def regularised(c):
    r, k = KERAS.regularizers, KERAS.constraints
    return stack(
        c.Dense(6, input_shape=(4,), kernel_regularizer=r.l2(0.01), bias_constraint=k.max_norm(2.0)),
        c.ActivityRegularization(l1=0.1),
        c.Dense(2, kernel_initializer=KERAS.initializers.RandomNormal(stddev=0.1)),
    )


@model
def float64(c):
    return stack(c.Dense(4, input_shape=(3,), dtype="float64"), c.Dense(2, dtype="float64"))


@model
def normalization(c):
    layer = c.Normalization(input_shape=(4,))
    layer.adapt(np.arange(20, dtype="float32").reshape(5, 4))
    return stack(layer, c.Dense(2))


def made_weights(made, seed):
    """Random weights that are unlike any that a layer begins with; variances are positive."""
    random = np.random.RandomState(seed)
    values = []
    for weight, value in zip(made.weights, KERAS.backend.batch_get_value(made.weights)):
        if value.dtype.kind != "f":
            values.append(value)
        elif "variance" in weight.name:
            values.append(random.uniform(0.5, 2.0, value.shape))
        elif value.ndim > 1:
            values.append(random.normal(0, 1.2 / np.sqrt(max(1, np.prod(value.shape[:-1]))), value.shape))
        else:
            values.append(random.normal(0.1, 0.3, value.shape))
    KERAS.backend.batch_set_value(list(zip(made.weights, values)))


def made_rows(made, seed):
    """Three rows for every input: ids below 30 for embeddings, other numbers else."""
    random = np.random.RandomState(seed)
    rows = []
    consumers = [layer for layer in made.layers if type(layer).__name__ not in ("InputLayer",)]
    for tensor in made.inputs:
        shape = KERAS.backend.int_shape(tensor)
        size = [3] + [11 if axis is None else int(axis) for axis in shape[1:]]
        if len(shape) > 3 and shape[1] is None:
            size[1:3] = 24, 24
        ids = "int" in str(tensor.dtype) or type(consumers[0]).__name__ == "Embedding"
        dtype = KERAS.backend.dtype(tensor)
        rows.append((random.randint(0, 30, size) if ids else random.normal(0, 1, size)).astype(dtype))
    return rows


def write(folder, name, build):
    made = build(layers())
    made_weights(made, sum(map(ord, name)))
    rows = made_rows(made, 7)
    answers = made.predict(rows if len(rows) > 1 else rows[0], batch_size=3)
    if name == "stateful":
        made.reset_states()
    answers = answers if isinstance(answers, list) else [answers]
    arrays = {"x%d" % i: x for i, x in enumerate(rows)}
    arrays.update({"y%d" % i: np.asarray(y) for i, y in enumerate(answers)})
    np.savez(os.path.join(folder, name + ".npz"), **arrays)
    made.save(os.path.join(folder, name + ".h5"))
    if VERSION >= (2, 12):
        early = {"save_format": "keras"} if VERSION == (2, 13) else {}  # Keras 2.12 writes HDF5 under this name
        made.save(os.path.join(folder, name + ".keras"), **early)
    with open(os.path.join(folder, name + ".json"), "w") as file:
        file.write(made.to_json())


def main():
    global KERAS, VERSION
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder")
    options.add_argument("--keras", default="tensorflow.keras", help="the package: keras, tensorflow.keras, tf_keras")
    options.add_argument("--only", nargs="*", default=[], help="names of models")
    chosen = options.parse_args()
    package, _, inner = chosen.keras.partition(".")
    KERAS = importlib.import_module(package)
    VERSION = tuple(int(part) for part in KERAS.__version__.split(".")[:2])
    KERAS = getattr(KERAS, inner) if inner else KERAS
    os.makedirs(chosen.folder, exist_ok=True)
    for name, build in MODELS.items():
        if chosen.only and name not in chosen.only:
            continue
        KERAS.backend.clear_session()
        try:
            write(chosen.folder, name, build)
        except Exception as error:
            print("%s: left out: %s: %s" % (name, type(error).__name__, str(error).split("\n")[0][:150]))


if __name__ == "__main__":
    main()

"""Write HDF5 files with Keras 1, and what Keras 1 answers: ``python keras1_files.py FOLDER``.

Runs with Keras 1.0 to 1.2 on TensorFlow 1 or Theano, as its own settings say (``KERAS_BACKEND``, ``keras.json``). On
Theano the models of pictures have the channels first (``dim_ordering="th"``), and a C++ compiler is needed: without one
Theano 0.9 leaves out the dilation of convolutions. Writes what ``keras2_files.py`` writes.
"""

import os
import sys

import keras
import numpy as np
from keras import backend
from keras import layers as c
from keras.layers.advanced_activations import ELU, LeakyReLU, PReLU
from keras.layers.noise import GaussianNoise
from keras.layers.normalization import BatchNormalization
from keras.layers.wrappers import Bidirectional, TimeDistributed
from keras.models import Model, Sequential

MODELS = {}
FIRST = backend.image_dim_ordering() == "th"


def model(function):
    """Enter a function that builds a model."""
    MODELS[function.__name__] = function
    return function


def picture(rows, columns, channels):
    return (channels, rows, columns) if FIRST else (rows, columns, channels)


@model
def dense():
    return Sequential(
        [c.Dense(8, input_dim=5, activation="relu", init="he_normal"), c.Dropout(0.5), c.Dense(3, activation="softmax")]
    )


@model
def compiled():
    made = Sequential([c.Dense(8, input_shape=(5,), W_regularizer="l2"), c.Activation("tanh"), c.Dense(1)])
    made.compile(optimizer="rmsprop", loss="mse")
    made.train_on_batch(np.ones((4, 5), "float32"), np.ones((4, 1), "float32"))
    return made


@model
def activations():
    return Sequential(
        [
            c.Dense(6, input_dim=4),
            LeakyReLU(0.2),
            c.Dense(6, bias=False),
            PReLU(),
            ELU(0.7),
            GaussianNoise(0.1),
            c.Dense(6, activation="hard_sigmoid"),
            BatchNormalization(),
            c.Dense(6, activation="softplus"),
            c.RepeatVector(4),
            c.Permute((2, 1)),
            c.Flatten(),
            c.Dense(2),
        ]
    )


@model
def cnn():
    return Sequential(
        [
            c.Convolution2D(6, 3, 3, activation="relu", border_mode="valid", input_shape=picture(14, 14, 1)),
            c.MaxPooling2D(pool_size=(2, 2)),
            c.ZeroPadding2D((1, 1)),
            c.Convolution2D(4, 3, 2, border_mode="same", subsample=(2, 2)),
            BatchNormalization(axis=1 if FIRST else -1),
            c.AveragePooling2D((2, 2), border_mode="valid"),
            c.Flatten(),
            c.Dense(5, activation="softmax"),
        ]
    )


@model
def upsampled():
    return Sequential(
        [
            c.UpSampling2D((2, 2), input_shape=picture(5, 6, 2)),
            c.Cropping2D(((1, 0), (0, 1))),
            c.AtrousConvolution2D(3, 3, 3, atrous_rate=(2, 2)),
            c.GlobalAveragePooling2D(),
            c.Dense(2),
        ]
    )


@model
def text():
    return Sequential(
        [
            c.Embedding(30, 6, input_length=12),
            c.Convolution1D(5, 3, activation="relu", border_mode="same"),
            c.MaxPooling1D(pool_length=2),
            c.LSTM(4, return_sequences=True),
            c.GRU(3),
            c.Dense(1, activation="sigmoid"),
        ]
    )


@model
def lstm():
    return Sequential(
        [
            c.LSTM(6, input_shape=(7, 3), return_sequences=True, dropout_W=0.2, dropout_U=0.2, consume_less="gpu"),
            c.LSTM(5, inner_activation="sigmoid", consume_less="mem", go_backwards=True),
            c.Dense(2),
        ]
    )


@model
def gru():
    return Sequential([c.GRU(5, input_dim=3, input_length=6), c.Dense(2)])


@model
def simple_rnn():
    return Sequential([c.SimpleRNN(5, input_dim=3, activation="tanh"), c.Dense(2)])


@model
def masked():
    return Sequential([c.Embedding(30, 4, mask_zero=True), c.LSTM(5), c.Dense(2)])


@model
def bidirectional():
    return Sequential(
        [Bidirectional(c.LSTM(4, return_sequences=True), input_shape=(6, 3)), Bidirectional(c.GRU(3)), c.Dense(1)]
    )


@model
def time_distributed():
    return Sequential([TimeDistributed(c.Dense(4), input_shape=(5, 3)), c.LSTM(3)])


@model
def functional():
    a, b = c.Input(shape=(4,), name="a"), c.Input(shape=(9,), dtype="int32", name="b")
    words = c.LSTM(5)(c.Embedding(30, 4, input_length=9)(b))
    numbers = c.Dense(5)(a)
    parts = [c.merge([words, numbers], mode=mode) for mode in ("sum", "mul", "ave", "max", "concat", "dot")]
    return Model(input=[a, b], output=[c.Dense(2, name="one")(parts[4]), c.merge(parts, mode="concat", name="all")])


@model
def merged_branches():
    left = Sequential([c.Dense(4, input_dim=3), c.Activation("relu")])
    right = Sequential([c.Embedding(30, 5, input_length=6), c.LSTM(4)])
    return Sequential([c.Merge([left, right], mode="concat"), c.Dense(3, activation="tanh"), c.Dense(1)])


@model
def nested():
    inner = Sequential([c.Dense(4, input_dim=3), BatchNormalization()])
    a, b = c.Input(shape=(3,)), c.Input(shape=(3,))
    return Model(input=[a, b], output=c.Dense(2)(c.merge([inner(a), inner(b)], mode="concat")))


@model
def transposed():
    shape = (None, 3, 9, 9) if FIRST else (None, 9, 9, 3)
    return Sequential(
        [
            c.Dense(32, input_dim=2),
            c.Reshape(picture(4, 4, 2)),
            c.Deconvolution2D(3, 3, 3, output_shape=shape, subsample=(2, 2), border_mode="valid"),
            c.Flatten(),
            c.Dense(2),
        ]
    )


@model
def separable():
    return Sequential(
        [c.SeparableConvolution2D(4, 3, 3, input_shape=picture(8, 8, 2)), c.GlobalMaxPooling2D(), c.Dense(2)]
    )


@model
def conv_3d():
    shape = (2, 5, 5, 5) if FIRST else (5, 5, 5, 2)
    return Sequential([c.Convolution3D(3, 2, 2, 2, input_shape=shape), c.MaxPooling3D(), c.Flatten(), c.Dense(2)])


def write(folder, name, build):
    made = build()
    random = np.random.RandomState(sum(map(ord, name)))
    values = backend.batch_get_value(made.weights)
    new = []
    for weight, value in zip(made.weights, values):
        if "std" in weight.name or "var" in weight.name:
            new.append(random.uniform(0.5, 2.0, value.shape).astype("float32"))
        else:
            new.append(random.normal(0.05, 0.35, value.shape).astype("float32"))
    backend.batch_set_value(list(zip(made.weights, new)))
    rows = []
    for tensor in made.inputs:
        shape = [3] + [8 if axis is None else axis for axis in backend.int_shape(tensor)[1:]]
        ids = "int" in str(tensor.dtype) or name in ("text", "masked") or (len(rows) and name == "merged_branches")
        rows.append(random.randint(0, 30, shape).astype("float32") if ids else random.normal(0, 1, shape))
    answers = made.predict(rows if len(rows) > 1 else rows[0])
    answers = answers if isinstance(answers, list) else [answers]
    arrays = {"x%d" % i: x.astype("float32") for i, x in enumerate(rows)}
    arrays.update({"y%d" % i: y for i, y in enumerate(answers)})
    np.savez(os.path.join(folder, name + ".npz"), **arrays)
    made.save(os.path.join(folder, name + ".h5"))


def main():
    folder = sys.argv[1]
    if backend.backend() == "theano":
        import theano

        if not theano.config.cxx:  # its local_conv2d_cpu does not pass filter_dilation on
            sys.exit("Theano needs a C++ compiler: without one it computes dilated convolutions without dilation.")
    if not os.path.isdir(folder):
        os.makedirs(folder)
    for name, build in sorted(MODELS.items()):
        try:
            write(folder, name, build)
        except Exception as error:
            print("%s: left out: %s: %s" % (name, type(error).__name__, str(error).split("\n")[0][:150]))
    print("Keras", keras.__version__)


if __name__ == "__main__":
    main()

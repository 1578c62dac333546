"""Test that recurrent layers become one operator with the answers of Keras, and that other loops stay unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

FUSED = {"RNN", "GRU", "LSTM"}
#: Rows and steps: alone and together, short and long.
SHAPES = ((1, 1), (1, 9), (5, 2), (3, 60))
ACTIVATIONS = ("tanh", "relu", "sigmoid", "hard_sigmoid", "linear", "elu", "softsign")
MERGES = ("concat", "sum", "mul", "ave")


def _layers(*names: str):
    """Return Keras's layer classes; Keras is not imported when tests are collected."""
    from keras import layers

    return [getattr(layers, name) for name in names]


def _check(tmp_path: Path, outputs, wanted: dict[str, int]) -> None:
    """``outputs`` maps one sequence [batch, time, 4] to any number of tensors."""
    import keras

    from tests.export import conversion

    sequence = keras.Input((None, 4), name="x")
    found = outputs(sequence)
    tensors = {f"y{i}": tensor for i, tensor in enumerate(found if isinstance(found, (list, tuple)) else [found])}
    model = keras.Model({"x": sequence}, tensors)
    proto, backend = conversion.converted(conversion.save(model, tmp_path), tmp_path)
    counts = conversion.operators(proto)
    assert {name: counts[name] for name in (*FUSED, "Loop", "Scan") if counts[name]} == wanted
    for rows, steps in SHAPES:
        x = np.random.default_rng(rows).normal(size=(rows, steps, 4)).astype(np.float32)
        assert conversion.differences(model, backend, {"x": x}) == ""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_gru(tensorflow, tmp_path: Path, bias: bool, reset_after: bool, backwards: bool) -> None:
    (gru,) = _layers("GRU")
    layer = gru(3, use_bias=bias, reset_after=reset_after, go_backwards=backwards, return_sequences=backwards)
    _check(tmp_path, layer, {"GRU": 1})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM"])
def test_rnn_and_lstm(tensorflow, tmp_path: Path, kind: str, bias: bool, backwards: bool) -> None:
    (layer,) = _layers(kind)
    layer = layer(3, use_bias=bias, go_backwards=backwards, return_sequences=backwards)
    _check(tmp_path, layer, {"RNN" if kind == "SimpleRNN" else kind: 1})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(tensorflow, tmp_path: Path, activation: str) -> None:
    """One model with several layers of each kind."""
    rnn, gru, lstm = _layers("SimpleRNN", "GRU", "LSTM")

    def outputs(sequence):
        return [
            rnn(3, activation=activation)(sequence),
            gru(3, activation=activation, recurrent_activation="hard_sigmoid")(sequence),
            gru(4, activation=activation, reset_after=False)(sequence),
            lstm(3, activation=activation)(sequence),
            lstm(4, activation=activation, recurrent_activation="hard_sigmoid")(sequence),
        ]

    _check(tmp_path, outputs, {"RNN": 1, "GRU": 2, "LSTM": 2})


@pytest.mark.parametrize("merge", MERGES)
def test_both_directions(tensorflow, tmp_path: Path, merge: str) -> None:
    """An LSTM's two directions become one operator by tf2onnx itself."""
    import keras

    rnn, gru, lstm = _layers("SimpleRNN", "GRU", "LSTM")

    def outputs(sequence):
        return [
            keras.layers.Bidirectional(layer(3, return_sequences=sequences), merge_mode=merge)(sequence)
            for layer, sequences in ((rnn, True), (gru, False), (lstm, True))
        ]

    _check(tmp_path, outputs, {"RNN": 2, "GRU": 2, "LSTM": 1})


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_stacks_and_sizes(tensorflow, tmp_path: Path, kind: str) -> None:
    """As many units as inputs, and a single unit, where axes of equal length could be confused."""
    (layer,) = _layers(kind)
    name = "RNN" if kind == "SimpleRNN" else kind

    def outputs(sequence):
        deep = layer(1, return_sequences=True)(layer(4, return_sequences=True)(sequence))
        return [deep, layer(5)(deep)]

    _check(tmp_path, outputs, {name: 3})


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_states_go_in_and_come_out(tensorflow, tmp_path: Path, kind: str) -> None:
    import keras

    from tests.export import conversion

    (layer,) = _layers(kind)
    layer = layer(3, return_sequences=True, return_state=True)
    names = ("h", "c") if kind == "LSTM" else ("h",)
    inputs = {"x": keras.Input((None, 4), name="x"), **{name: keras.Input((3,), name=name) for name in names}}
    y, *states = layer(inputs["x"], initial_state=[inputs[name] for name in names])
    model = keras.Model(inputs, {"y": y, **{f"next_{name}": state for name, state in zip(names, states, strict=True)}})
    proto, backend = conversion.converted(conversion.save(model, tmp_path), tmp_path)
    assert conversion.operators(proto)["Loop"] == 0
    rng = np.random.default_rng(2)
    for rows, steps in SHAPES:
        feeds = {name: rng.normal(size=(rows, 3)).astype(np.float32) for name in names}
        feeds["x"] = rng.normal(size=(rows, steps, 4)).astype(np.float32)
        assert conversion.differences(model, backend, feeds) == ""


MASKED = {
    "last": lambda layer, keras: layer(3),
    "sequence and states": lambda layer, keras: layer(3, return_sequences=True, return_state=True),
    "backwards": lambda layer, keras: layer(3, return_sequences=True, go_backwards=True),
    "zeros": lambda layer, keras: layer(3, return_sequences=True, zero_output_for_mask=True),
    "both": lambda layer, keras: keras.layers.Bidirectional(layer(3, return_sequences=True)),
    "stack": lambda layer, keras: lambda x: layer(3)(layer(4, return_sequences=True)(x)),
}


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
@pytest.mark.parametrize("form", MASKED)
def test_masked_steps_are_skipped(tensorflow, tmp_path: Path, kind: str, form: str) -> None:
    """Masked at the end, in front, anywhere and everywhere."""
    import keras

    from tests.export import conversion

    tokens = keras.Input((None,), dtype="int32", name="x")
    (layer,) = _layers(kind)
    found = MASKED[form](layer, keras)(keras.layers.Embedding(6, 4, mask_zero=True)(tokens))
    outputs = {f"y{i}": tensor for i, tensor in enumerate(found if isinstance(found, (list, tuple)) else [found])}
    model = keras.Model({"x": tokens}, outputs)
    proto, backend = conversion.converted(conversion.save(model, tmp_path), tmp_path)
    assert conversion.operators(proto)["Loop"] == 0
    for rows, steps in SHAPES:
        x = np.random.default_rng(rows).integers(1, 6, (rows, steps), np.int32)
        place = np.arange(steps)
        holes = np.random.default_rng(steps).integers(0, 2, (rows, steps), np.int32)
        for keep in (place >= 0, place >= steps // 2, place < (steps + 1) // 2, place < 0, holes):
            assert conversion.differences(model, backend, {"x": (x * keep).astype(np.int32)}) == ""


def test_any_savedmodel_and_other_ways_of_writing_a_cell(tensorflow, tmp_path: Path) -> None:
    """A cell written by hand – one matrix for input and state, another order of gates – without Keras."""
    from bookserve.graph import Graph, TensorSpec
    from tests.export import conversion

    tf, rng = tensorflow, np.random.default_rng(0)
    kernel, bias = rng.normal(0, 0.5, (7, 12)).astype(np.float32), rng.normal(0, 0.5, 12).astype(np.float32)

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.bias = tf.Variable(kernel), tf.Variable(bias)

        @tf.function(input_signature=[tf.TensorSpec((None, None, 4), tf.float32, name="x")])
        def call(self, x):
            count = tf.shape(x)[1]
            steps = tf.TensorArray(tf.float32, count).unstack(tf.transpose(x, (1, 0, 2)))
            zeros = tf.zeros((tf.shape(x)[0], 3))
            taken = tf.TensorArray(tf.float32, count, element_shape=(None, 3))

            def step(at, h, c, taken):
                gates = tf.concat([steps.read(at), h], 1) @ self.kernel + self.bias
                i, g, f, o = tf.split(gates, 4, axis=1)
                c = tf.tanh(g) * tf.sigmoid(i) + tf.sigmoid(f + 1.0) * c
                h = tf.tanh(c) * tf.sigmoid(o)
                return at + 1, h, c, taken.write(at, h)

            _, h, c, taken = tf.while_loop(
                lambda at, *_: at < count, step, (0, zeros, zeros, taken), maximum_iterations=count
            )
            return {"y": tf.transpose(taken.stack(), (1, 0, 2)), "h": h, "c": c}

    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    floats = TensorSpec("float32", ("batch", 3))
    graph = Graph(
        inputs={"x": TensorSpec("float32", ("batch", "time", 4))},
        outputs={"y": TensorSpec("float32", ("batch", "time", 3)), "h": floats, "c": floats},
    )
    proto, backend = conversion.converted(graph, tmp_path)
    assert conversion.operators(proto)["LSTM"] == 1
    assert conversion.operators(proto)["Loop"] == 0
    from bookserve.bundle import parity

    for rows, steps in SHAPES:
        x = rng.normal(size=(rows, steps, 4)).astype(np.float32)
        expected = {name: value.numpy() for name, value in module.call(tf.constant(x)).items()}
        assert parity.compare(expected, backend.run({"x": x})).problem == ""


@pytest.mark.parametrize("kind", ["selu", "softplus", "a loop that ends early", "a state that decays"])
def test_other_loops_stay_as_they_were(tensorflow, tmp_path: Path, kind: str) -> None:
    """They are converted as loops and give the right answers; ONNX Runtime's own ``softplus`` would overflow here."""
    from bookserve.bundle import parity
    from bookserve.graph import Graph, TensorSpec
    from tests.export import conversion

    tf, rng = tensorflow, np.random.default_rng(0)
    kernel = tf.Variable(rng.normal(0, 0.5, (7, 3)).astype(np.float32))

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, 4), tf.float32, name="x")])
        def call(self, x):
            count = tf.shape(x)[1]
            steps = tf.TensorArray(tf.float32, count).unstack(tf.transpose(x, (1, 0, 2)))
            limit = count - 1 if kind == "a loop that ends early" else count

            def step(at, h):
                new = tf.concat([steps.read(at), h], 1) @ kernel
                new = getattr(tf.nn, kind, tf.tanh)(new)
                return at + 1, new + 0.1 * h if kind == "a state that decays" else new

            start = (0, tf.zeros((tf.shape(x)[0], 3)))
            return {"h": tf.while_loop(lambda at, _: at < limit, step, start, maximum_iterations=limit)[1]}

    module = Module()
    module.kernel = kernel
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    graph = Graph(
        inputs={"x": TensorSpec("float32", ("batch", "time", 4))}, outputs={"h": TensorSpec("float32", ("batch", 3))}
    )
    proto, backend = conversion.converted(graph, tmp_path)
    assert conversion.operators(proto)["Loop"] == 1
    assert not FUSED & conversion.operators(proto).keys()
    for rows, steps in ((1, 9), (3, 20)):
        x = rng.normal(0, 100, (rows, steps, 4)).astype(np.float32)
        expected = {name: value.numpy() for name, value in module.call(tf.constant(x)).items()}
        assert parity.compare(expected, backend.run({"x": x})).problem == ""

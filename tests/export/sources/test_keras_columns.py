"""Test what Keras models of today have beside arrays of numbers: texts, tables' columns, state, and many outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.bundle import Bundle
from bookserve.client import connect
from bookserve.errors import InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime import open_sessions
from export.sources.source import find_source


@pytest.fixture
def write(tensorflow: Any, tmp_path: Path, models: Path) -> Any:
    """Save a model as ``net.keras`` and export it."""
    from export.write import write_bundle

    def write(model: Any) -> Any:
        model.save(tmp_path / "net.keras")
        return write_bundle(find_source(str(tmp_path / "net.keras"), tmp_path), models)

    return write


def run(bundle: Bundle, **feeds: Any) -> Arrays:
    name, graph = bundle.graph()
    arrays = {key: np.asarray(value) for key, value in feeds.items()}
    graph.check(arrays)
    return open_sessions(bundle)[name].run(arrays)


def strings(*rows: str) -> np.ndarray:
    return np.array([[row.encode()] for row in rows], object)


def test_a_dictionary_of_columns_with_texts_and_codes(tensorflow: Any, write: Any, models: Path) -> None:
    import keras

    layers = keras.layers
    columns = {
        "Sepal.Length": keras.Input((1,), name="Sepal.Length"),
        "2nd col": keras.Input((1,), name="2nd col"),
        "class": keras.Input((1,), dtype="string", name="class"),
        "code": keras.Input((1,), dtype="int64", name="code"),
    }
    parts = [
        columns["Sepal.Length"],
        layers.Discretization([0.0, 1.5], output_mode="one_hot")(columns["2nd col"]),
        layers.StringLookup(vocabulary=["one", "two"], output_mode="one_hot")(columns["class"]),
        layers.IntegerLookup(vocabulary=[4, 9, 16], output_mode="multi_hot")(columns["code"]),
    ]
    model = keras.Model(columns, layers.Dense(2, name="p")(layers.Concatenate()(parts)))
    written = write(model)
    _, graph = written.bundle.graph()
    assert set(graph.inputs) == columns.keys()
    assert written.notes == []
    rows = {
        "Sepal.Length": np.array([[5.1], [4.9]], np.float32),
        "2nd col": np.array([[0.5], [9.0]], np.float32),
        "class": strings("two", "none"),
        "code": np.array([[9], [5]]),
    }
    expected = model({key: tensorflow.constant(value) for key, value in rows.items()})
    np.testing.assert_allclose(run(written.bundle, **rows)["p"], expected, atol=1e-6)
    with connect(f"local:{models}") as client:
        row = {"Sepal.Length": [5.1], "2nd col": [0.5], "class": ["two"], "code": [9]}
        np.testing.assert_allclose(client.predict("net", [row])[0]["p"], expected[0], atol=1e-6)
    assert tensorflow.saved_model.load(str(written.bundle.path)).signatures["serving_default"](
        **{key: tensorflow.constant(value) for key, value in rows.items()}
    )["p"].shape == (2, 2)


def test_texts_and_hashes_run_on_tensorflow(tensorflow: Any, write: Any) -> None:
    import keras

    text, word = keras.Input((1,), dtype="string", name="text"), keras.Input((1,), dtype="string", name="word")
    ids = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=4)(text)
    bucket = keras.layers.Hashing(num_bins=7)(word)
    written = write(keras.Model([text, word], {"ids": ids, "bucket": bucket}))
    assert "runs on TensorFlow only" in written.notes[0]
    answer = run(written.bundle, text=strings("Good, bad!"), word=strings("one"))
    assert answer["ids"].tolist() == [[2, 3, 0, 0]]
    assert (
        answer["bucket"].tolist() == keras.layers.Hashing(num_bins=7)(tensorflow.constant([["one"]])).numpy().tolist()
    )


def test_a_vocabulary_in_a_file_of_the_machine_is_refused(tensorflow: Any, write: Any, tmp_path: Path) -> None:
    import json
    import zipfile

    import keras

    word = keras.Input((1,), dtype="string")
    model = keras.Model(word, keras.layers.StringLookup(vocabulary=["one"])(word))
    model.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as file:
        files = {name: file.read(name) for name in file.namelist()}
    description = json.loads(files["config.json"])
    description["config"]["layers"][1]["config"]["vocabulary"] = "/etc/hostname"
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as file:
        for name, content in {**files, "config.json": json.dumps(description)}.items():
            file.writestr(name, content)
    from export.sources.keras_file import KerasFile

    with pytest.raises(InvalidInput, match="/etc/hostname"):
        KerasFile(tmp_path / "net.keras")


def test_the_state_of_recurrent_layers_is_an_input_and_an_output(tensorflow: Any, write: Any) -> None:
    import keras

    x = keras.Input(batch_shape=(2, 3, 4), name="x")
    hidden = keras.layers.LSTM(3, stateful=True, return_sequences=True, name="first")(x)
    model = keras.Model(x, keras.layers.GRU(2, stateful=True, name="second")(hidden))
    bundle: Bundle = write(model).bundle
    _, graph = bundle.graph()
    states = ["first_state", "first_state_1", "second_state"]
    assert list(graph.inputs) == ["x", *states]
    assert list(graph.outputs) == ["second", *(f"next_{name}" for name in states)]
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(2, 3, 4)).astype(np.float32) for _ in range(2)]
    memory = {name: np.zeros(spec.sizes(), np.float32) for name, spec in graph.inputs.items() if name != "x"}
    for part in parts:
        expected = model(part).numpy()  # Keras keeps its state in the model
        answer = run(bundle, x=part, **memory)
        np.testing.assert_allclose(answer["second"], expected, atol=1e-5)
        memory = {name: answer[f"next_{name}"] for name in states}
    assert (run(bundle, x=parts[0], **memory)["second"] == run(bundle, x=parts[0], **memory)["second"]).all()


def test_steps_of_any_number_pass_through_the_inner_layer(tensorflow: Any, write: Any) -> None:
    import keras

    x = keras.Input((None, 6, 6, 3), name="x")
    each = keras.layers.TimeDistributed(keras.layers.Conv2D(2, 3, activation="relu"))(x)
    model = keras.Model(x, keras.layers.LSTM(3)(keras.layers.TimeDistributed(keras.layers.Flatten())(each)))
    bundle: Bundle = write(model).bundle
    assert bundle.graph()[1].onnx
    rows = np.random.default_rng(0).random((2, 5, 6, 6, 3)).astype(np.float32)
    (answer,) = run(bundle, x=rows).values()
    np.testing.assert_allclose(answer, model(rows), atol=1e-5)


def test_outputs_keep_keras_order_and_bundles_can_be_made_again(
    tensorflow: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    x = keras.Input((4,), name="x")
    names = [f"o_{place}" for place in range(12)]
    model = keras.Model(x, [keras.layers.Dense(1, name=name)(x) for name in names])
    first, second = (write(model).bundle for _ in range(2))
    assert list(first.graph()[1].outputs) == list(second.graph()[1].outputs) == names
    for file in ("model.onnx", "examples.npz"):
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes()
    assert first.manifest.created == "2017-07-14T02:40:00Z"


def test_scalars_and_several_kinds_of_convolution(tensorflow: Any, write: Any) -> None:
    """Grouped and depthwise convolutions of all ranks, exact GELU, ArgMax, Log1p and LogAddExp have an ONNX form."""
    import keras

    layers, ops = keras.layers, keras.ops
    one, series, picture, volume = (
        keras.Input(shape, name=name)
        for name, shape in (("n", ()), ("s", (6, 4)), ("p", (6, 6, 4)), ("v", (4, 4, 4, 4)))
    )
    parts = [
        layers.Conv1D(4, 2, groups=2, dilation_rate=2)(series),
        layers.DepthwiseConv1D(2, depth_multiplier=2)(series),
        layers.SeparableConv1D(3, 2)(series),
        layers.Conv2D(4, 2, groups=4, strides=2, padding="same")(picture),
        layers.DepthwiseConv2D(2, dilation_rate=2)(picture),
        layers.Conv2DTranspose(3, 3, strides=2, padding="same")(picture),
        layers.Conv3D(4, 2, groups=2)(volume),
    ]
    flat = layers.Concatenate()([layers.Flatten()(part) for part in parts])
    outputs = {
        "flat": ops.gelu(flat, approximate=False),
        "best": ops.argmax(picture, axis=-1),
        "least": ops.argmin(series, axis=1),
        "log": ops.log1p(ops.abs(series) * 1e-6),
        "both": ops.logaddexp(one, ops.sum(series, axis=(1, 2))),
        "square": one * one,
    }
    model = keras.Model([one, series, picture, volume], outputs)
    for variable in model.variables:
        variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    written = write(model)
    assert written.notes == []
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.normal(size=(2, *shape)).astype(np.float32)
        for name, shape in (("n", ()), ("s", (6, 4)), ("p", (6, 6, 4)), ("v", (4, 4, 4, 4)))
    }
    answers, expected = run(written.bundle, **feeds), model(list(feeds.values()))
    for name, value in expected.items():
        scale = np.abs(np.asarray(value, np.float64)).max()
        np.testing.assert_allclose(answers[name], value, atol=1e-5 * scale, err_msg=name)

"""Test external ``.keras`` files: read without running their code, and compared with Keras."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.bundle import Bundle
from bookserve.client import connect
from bookserve.errors import InvalidInput
from export.sources.source import find_source


@pytest.fixture
def keras(tensorflow) -> Any:
    import keras

    return keras


@pytest.fixture
def write(keras, tmp_path: Path, models: Path):
    """Save a model as ``net.keras`` and export it."""

    def write(model: Any = None) -> Any:
        from export.write import write_bundle

        path = tmp_path / "net.keras"
        if model is not None:
            model.save(path)
        return write_bundle(find_source(str(path), tmp_path), models)

    return write


def expected(model: Any, feeds: Any) -> list[np.ndarray]:
    import keras

    return [np.asarray(value) for value in keras.tree.flatten(model(feeds, training=False))]


def test_a_stack_of_layers_answers_as_keras_does(keras, write, models: Path) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2, name="scores")])
    bundle: Bundle = write(model).bundle
    _, graph = bundle.graph()
    assert (str(graph.inputs["input"]), str(graph.outputs["scores"])) == ("float32[batch, 5]", "float32[batch, 2]")
    assert {"saved_model.pb", "model.onnx", "assets/model.keras"} <= bundle.manifest.files.keys()
    assert bundle.manifest.parameters == model.count_params()
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    with connect(f"local:{models}") as client:
        answers = np.stack([answer["scores"] for answer in client.predict("net", rows)])
    np.testing.assert_allclose(answers, expected(model, rows)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("named", [True, False])
def test_several_inputs_and_outputs_keep_their_names(keras, write, models: Path, named: bool) -> None:
    z, a = keras.Input((3,), name="z"), keras.Input((), dtype="int32", name="a")
    embedded = keras.layers.Embedding(5, 3)(a)
    both = keras.layers.Add(name="both")([z, embedded])
    first, second = keras.layers.Dense(1, name="first")(both), keras.layers.Softmax(name="second")(both)
    if named:
        model = keras.Model({"z": z, "a": a}, {"one": first, "two": second})
    else:
        model = keras.Model([z, a], [first, second])
    bundle: Bundle = write(model).bundle
    _, graph = bundle.graph()
    assert set(graph.inputs) == {"z", "a"}
    assert set(graph.outputs) == ({"one", "two"} if named else {"first", "second"})
    feeds = {"z": np.array([[1, 2, 3]], np.float32), "a": np.array([4], np.int32)}
    wanted = expected(model, feeds if named else [feeds["z"], feeds["a"]])
    with connect(f"local:{models}") as client:
        answer = client.predict("net", [{"z": [1, 2, 3], "a": 4}])[0]
    for name, value in zip(("one", "two") if named else ("first", "second"), wanted, strict=True):
        np.testing.assert_allclose(answer[name], value[0], rtol=1e-5, atol=1e-6)


def test_random_layers_are_off_and_normalisation_uses_what_it_learned(keras, write) -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)])
    model.layers[0].moving_mean.assign([1, 2, 3, 4])
    model.layers[0].moving_variance.assign([0.5, 2, 3, 4])
    bundle: Bundle = write(model).bundle
    example = bundle.examples().graphs["serving_default"]
    np.testing.assert_allclose(
        next(iter(example.outputs.values())),
        expected(model, next(iter(example.inputs.values())))[0],
        rtol=1e-5,
        atol=1e-6,
    )


def test_lambda_layers_are_refused(keras, write, models: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    with pytest.raises(
        InvalidInput, match=r"the Python code of a Lambda layer.*in Python model\.export.*in R export_savedmodel"
    ):
        write(model)
    assert not list(models.glob("*"))


def test_custom_classes_and_functions_are_refused_by_name(keras, write) -> None:
    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    def crooked(x):
        return x * 3

    with pytest.raises(InvalidInput, match="the class 'Twice'"):
        write(keras.Sequential([keras.Input((2,)), Twice()]))
    with pytest.raises(InvalidInput, match="the function 'crooked'"):
        write(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation=crooked)]))


def test_a_custom_loss_is_accepted(keras, write) -> None:
    def my_loss(y, p):
        return (y - p) ** 2

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(loss=my_loss)
    assert write(model).bundle.graph()[1].onnx == "model.onnx"


def change(path: Path, content: bytes | None) -> None:
    """Rewrite the description in a .keras file."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = parts["config.json"] if content is None else content
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (
            json.dumps({"module": "os", "class_name": "system", "config": "x", "registered_name": None}).encode(),
            "class",
        ),
        (json.dumps({"class_name": "__lambda__", "config": {"value": "4w=="}}).encode(), "Lambda"),
        (json.dumps({"module": "builtins", "class_name": "function", "config": "eval"}).encode(), "function 'eval'"),
        (json.dumps({"module": "keras.layers", "class_name": "Nothing", "config": {}}).encode(), "Keras cannot load"),
    ],
)
def test_hostile_descriptions_are_refused(keras, write, tmp_path: Path, content: bytes, says: str) -> None:
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(tmp_path / "net.keras")
    change(tmp_path / "net.keras", content)
    with pytest.raises(InvalidInput, match=says):
        write()


def test_a_file_of_another_format_is_refused(keras, write, tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(InvalidInput, match=r"not a complete \.keras file"):
        write()

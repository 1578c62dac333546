"""The graphs of a convnet's parts: together they compute what the whole does, and agree with Keras's own gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from bookserve.generation.explain import ACTIVATIONS, HEAD, explain
from bookserve.graph import Arrays
from bookserve.steps import BinaryLabel, Image, Scale, TopLabels
from bookserve.verb import Predict
from trainers.artifacts import layer_graphs
from trainers.artifacts.layer_graphs import explain_graphs
from trainers.artifacts.signatures import describe_graph
from trainers.inspect.gradcam import class_heatmap

PHOTOS = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3)).astype(np.uint8)


def plain(classes: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = x = keras.Input((20, 20, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(12, 3, activation="relu", name="last")(x)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    x = layers.Dense(classes, activation="softmax" if classes > 1 else "sigmoid")(layers.Dense(16, "relu")(x))
    return keras.Model({"image": image}, {"p": x})


def nested() -> keras.Model:
    """A convolutional base inside the model, and a way around its last convolution."""
    keras.utils.set_random_seed(2)
    inner = y = keras.Input((20, 20, 3))
    y = layers.Conv2D(8, 3, activation="relu", name="wide")(y)
    base = keras.Model(inner, layers.Add(name="sum")([y, layers.Conv2D(8, 3, padding="same", name="last")(y)]))
    image = keras.Input((20, 20, 3), name="image")
    x = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(base(image)))
    return keras.Model({"image": image}, {"p": x})


def verb(classes: int) -> Predict:
    labels = TopLabels(tuple("abcd"[:classes])) if classes > 1 else BinaryLabel(("no", "yes"))
    return Predict(inputs={"image": (Image(20, 20, 3), Scale(1 / 255))}, outputs={"p": (labels,)})


@pytest.mark.parametrize(("model", "classes"), [(plain(4), 4), (plain(1), 1), (nested(), 4)])
def test_a_model_is_its_parts(model: keras.Model, classes: int) -> None:
    said = verb(classes)
    found = explain_graphs(model, said)
    graphs = {name: describe_graph(part) for name, part in found.items()}
    feeds = said.encode(PHOTOS)
    maps = {name: np.asarray(value) for name, value in found[ACTIVATIONS](feeds).items()}
    (layer,) = graphs[HEAD].inputs
    whole, judged = np.asarray(model(feeds)["p"]), np.asarray(found[HEAD]({layer: maps[layer]})["p"])
    np.testing.assert_allclose(judged, whole, rtol=1e-5)

    def run(graph: str, given: Arrays) -> Arrays:
        return {name: np.asarray(value) for name, value in found[graph](given, training=False).items()}

    for photo in PHOTOS:
        seen = explain(said, graphs, run, photo)
        flat = keras.Model(model.input["image"], model.output["p"])
        expected = class_heatmap(flat, said.encode([photo])["image"], layer="last" if layer == "last" else "sum")
        assert seen.score == pytest.approx(expected.probability, rel=1e-4)
        np.testing.assert_allclose(seen.heatmap, expected.heatmap, atol=0.03)


def test_what_is_no_convnet_or_too_large_has_no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    words = keras.Input((20,), name="words")
    dense = keras.Model({"words": words}, {"p": layers.Dense(2)(words)})
    assert explain_graphs(dense, Predict(inputs={"words": ()}, outputs={"p": ()})) == {}
    assert list(explain_graphs(plain(4), verb(4))) == [ACTIVATIONS, HEAD]
    monkeypatch.setattr(layer_graphs, "MAX_PARAMETERS", 100)
    assert explain_graphs(plain(4), verb(4)) == {}

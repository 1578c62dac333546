"""Explaining without gradients: what is measured is what calculus says, and what is drawn can be read."""

from __future__ import annotations

import numpy as np
import pytest

from bookserve.errors import InvalidInput, NotFound
from bookserve.generation.colormap import viridis
from bookserve.generation.explain import ACTIVATIONS, HEAD, check_explains, explain, layer_activations, overlay_heatmap
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.steps import BinaryLabel, Image, Scale, TopLabels
from bookserve.verb import Predict

RNG = np.random.default_rng(0)
CHANNELS, CLASSES = 40, 3
KERNEL = RNG.normal(size=(1, CHANNELS)).astype(np.float32)
WEIGHTS = (RNG.normal(size=(6 * 6 * CHANNELS, CLASSES)) * 0.05).astype(np.float32)
PHOTO = RNG.integers(0, 256, (6, 6, 1)).astype(np.uint8)
VERB = Predict(inputs={"image": (Image(6, 6, 1), Scale(1 / 255))}, outputs={"p": (TopLabels(("cat", "dog", "cow")),)})
SPEC = TensorSpec("float32", ("batch", 6, 6, CHANNELS))
GRAPHS = {
    ACTIVATIONS: Graph(inputs={"image": TensorSpec("float32", ("batch", 6, 6, 1))}, outputs={"map": SPEC}),
    HEAD: Graph(inputs={"map": SPEC}, outputs={"p": TensorSpec("float32", ("batch", CLASSES))}),
}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def run(graph: str, feeds: Arrays, sharpness: float = 1.0) -> Arrays:
    if graph == ACTIVATIONS:
        return {"map": np.maximum(feeds["image"] @ KERNEL, 0)}
    assert len(feeds["map"]) <= 64
    return {"p": softmax(sharpness * feeds["map"].reshape(len(feeds["map"]), -1) @ WEIGHTS).astype(np.float32)}


@pytest.mark.parametrize("sharpness", [1.0, 12.0])  # the second is so sure that its scores are all but 0 and 1
@pytest.mark.parametrize("wanted", ["cat", "dog", "2"])
def test_the_heat_map_is_that_of_the_true_gradient(wanted: str, sharpness: float) -> None:
    found = explain(VERB, GRAPHS, lambda graph, feeds: run(graph, feeds, sharpness), PHOTO, wanted)
    features = run(ACTIVATIONS, VERB.encode([PHOTO]))["map"].astype(np.float64)
    p = softmax(sharpness * features.reshape(1, -1) @ WEIGHTS.astype(np.float64))[0]
    index = 2 if wanted == "2" else ("cat", "dog").index(wanted)
    slope = sharpness * p[index] * (WEIGHTS[:, index] - WEIGHTS.astype(np.float64) @ p)
    weights = slope.reshape(-1, CHANNELS).mean(axis=0)
    heat = np.maximum((features[0] * weights).mean(axis=-1), 0)
    expected = heat / heat.max() if heat.max() > 0 else heat
    assert found.label == ("cat", "dog", "cow")[index]
    assert abs(found.score - p[index]) < 1e-5
    np.testing.assert_allclose(found.heatmap, expected, atol=0.02)
    assert found.overlay.shape == (222, 222, 3)  # enlarged until it can be looked at


def test_a_single_output_has_two_sides() -> None:
    def judge(graph: str, feeds: Arrays) -> Arrays:
        if graph == ACTIVATIONS:
            return run(graph, feeds)
        return {"p": run(graph, feeds)["p"][:, :1]}

    verb = Predict(inputs=VERB.inputs, outputs={"p": (BinaryLabel(("no", "yes")),)})
    yes, no = (explain(verb, GRAPHS, judge, PHOTO, side) for side in ("yes", "no"))
    assert yes.score + no.score == pytest.approx(1, abs=1e-6)
    assert not (yes.heatmap * no.heatmap).any()  # what speaks for one speaks against the other


def test_layers_are_drawn() -> None:
    (layer,) = layer_activations(VERB, run, PHOTO, ["map"])
    assert (layer.name, layer.shape) == ("map", (6, 6, CHANNELS))
    assert layer.picture.shape == (3 * (9 * 6 + 2), 16 * (9 * 6 + 2), 3)


def test_what_cannot_be_explained_is_told() -> None:
    with pytest.raises(NotFound, match=r"no class 'horse'. There are cat, dog, cow"):
        explain(VERB, GRAPHS, run, PHOTO, "horse")
    with pytest.raises(InvalidInput, match="cannot be explained"):
        check_explains("plain", {HEAD: GRAPHS[HEAD]})


def test_the_colours_are_viridis() -> None:
    colormaps = pytest.importorskip("matplotlib").colormaps
    values = np.linspace(0, 1, 256)
    theirs = colormaps["viridis"](values, bytes=True)[:, :3]
    assert np.abs(viridis(values).astype(int) - theirs).max() <= 6
    assert viridis(np.array([-1.0, 2.0])).tolist() == viridis(np.array([0.0, 1.0])).tolist()


def test_heat_hides_the_photo() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    laid = overlay_heatmap(heat, np.full((40, 40, 3), 100, np.uint8))
    assert laid[-1, -1].tolist() == [100, 100, 100]
    assert laid[0, 0].tolist() != [100, 100, 100]

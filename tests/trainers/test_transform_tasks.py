"""DeepDream and style transfer: gradients agree with numerical ones, and the loops keep their limits."""

from __future__ import annotations

from typing import Any

import keras
import msgspec
import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.generation.transform import Progress, octave_shapes, resize_images, transform, transform_with_progress
from bookserve.steps import AddImageNetMeans, ImageNetMeans, Pixels, Scale
from bookserve.verb import Dream, Style, Transform, Verb
from trainers import catalogue
from trainers.artifacts.write import compute_examples

Arrays = dict[str, np.ndarray]
PHOTO = np.random.default_rng(0).integers(0, 256, (1, 160, 200, 3)).astype(np.uint8)
DREAM = Transform(method=Dream({"a": 1.0}, iterations=5), before=(Scale(2 / 255, -1),), after=(Pixels(-1, 1),))
PAINT = Transform(method=Style(iterations=2), before=(ImageNetMeans(),), after=(AddImageNetMeans(),))


def nothing(graph: str, feeds: Arrays) -> Arrays:
    return {"loss": np.zeros(1, np.float32), "gradient": np.zeros_like(feeds["image"])}


def brightness(graph: str, feeds: Arrays) -> Arrays:
    return {"loss": feeds["image"].mean(axis=(1, 2, 3)), "gradient": np.ones_like(feeds["image"])}


def test_octaves_grow_to_the_whole_picture_and_stay_large_enough() -> None:
    assert octave_shapes(350, 500, Dream({}, octaves=3, octave_scale=1.4)) == [
        (127, 182),
        (178, 255),
        (250, 357),
        (350, 500),
    ]
    assert octave_shapes(100, 100, Dream({}, octaves=3, octave_scale=1.4)) == [(100, 100)]


def test_without_a_gradient_the_picture_comes_back() -> None:
    """What shrinking lost is put back: the last stage is the photo itself, up to rounding."""
    last = list(transform(DREAM, nothing, PHOTO))[-1]
    assert last.picture.shape == PHOTO.shape[1:]
    assert np.abs(last.picture.astype(int) - PHOTO[0]).max() <= 1


def test_ascent_raises_the_loss_until_it_is_large_enough() -> None:
    stages = list(transform(DREAM, brightness, PHOTO))
    assert len(stages) == 3
    assert all(stage.after > stage.before for stage in stages)
    calls = []

    def counted(graph: str, feeds: Arrays) -> Arrays:
        calls.append(1)
        return brightness(graph, feeds)

    dim = msgspec.structs.replace(DREAM, method=Dream({"a": 1.0}, iterations=5, max_loss=-9.0))
    list(transform(dim, counted, PHOTO))
    assert len(calls) == 3  # one look at each size


def test_painting_lowers_the_loss_round_by_round() -> None:
    looks = []

    def target(graph: str, feeds: Arrays) -> Arrays:
        if graph == "features":
            looks.append(feeds["image"])
            return {"content": feeds["image"] + 1, "style": feeds["image"] / 2}
        wanted = feeds["style"] * 2 if looks else feeds["style"]
        difference = feeds["image"] - wanted
        return {"loss": (difference**2).sum(axis=(1, 2, 3)), "gradient": 2 * difference}

    photos = np.concatenate([PHOTO, PHOTO[:, ::-1]])
    looking = msgspec.structs.replace(PAINT, features="features")
    for verb, seen in ((PAINT, 0), (looking, 2)):  # a graph that takes pictures, and one that takes their features
        stages = list(transform(verb, target, photos))
        assert len(stages) == 2
        assert stages[0].after < 0.01 * stages[0].before
        assert np.abs(stages[-1].picture.astype(int) - photos[1]).mean() < 2
        assert len(looks) == seen  # once for each picture


def test_features_are_not_counted_as_steps() -> None:
    received: list[Progress] = []

    def run(graph: str, feeds: Arrays) -> Arrays:
        return {"content": feeds["image"], "style": feeds["image"]} if graph == "features" else nothing(graph, feeds)

    verb = msgspec.structs.replace(PAINT, features="features")
    transform_with_progress(verb, run, np.concatenate([PHOTO, PHOTO]), received.append)
    assert received[0].step == 1
    assert all(progress.loss == 0 for progress in received)


def test_the_loss_of_style_is_the_book_s() -> None:
    """Listings 8.17–8.20, written out: all three pictures pass the network, layer by layer."""
    import tensorflow as tf

    task = catalogue.find_task("style_transfer")
    params = task.defaults("sample")
    data = task.data("sample", params)
    network = task.build(data, params)
    assert task.graphs
    models = task.graphs(network)
    photo, painting, image = (
        np.random.default_rng(seed).uniform(0, 1, (1, 80, 90, 3)).astype(np.float32) for seed in range(3)
    )
    seen = [
        {name: np.asarray(array) for name, array in models["features"]({"image": p}).items()} for p in (photo, painting)
    ]
    weights = np.array([[0.025, 1.0, 1e-4]], np.float32)
    feeds = {"image": image, "content": seen[0]["content"], "style": seen[1]["style"], "weights": weights}
    out = models["gradient"](feeds)

    def gram(maps: Any) -> Any:
        flat = tf.reshape(tf.transpose(maps[0], (2, 0, 1)), (maps.shape[-1], -1))
        return flat @ tf.transpose(flat)

    pixels = tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        maps, kept, painted = (network(picture, training=False) for picture in (pixels, photo, painting))
        styles = [name for name in maps if name.startswith("style_")]
        content = tf.reduce_sum(tf.square(maps["content_conv4"] - kept["content_conv4"]))
        style = 0.0
        for name in styles:
            difference = tf.square(gram(painted[name]) - gram(maps[name]))
            style += tf.reduce_sum(difference) / (4.0 * 3**2 * (80 * 90) ** 2) / len(styles)
        down, right = (tf.square(pixels[:, :-1, :-1] - near) for near in (pixels[:, 1:, :-1], pixels[:, :-1, 1:]))
        loss = 0.025 * content + style + 1e-4 * tf.reduce_sum((down + right) ** 1.25)
    np.testing.assert_allclose(out["loss"], [loss], rtol=1e-5)
    gradient = np.asarray(tape.gradient(loss, pixels))
    np.testing.assert_allclose(out["gradient"], gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max())


def test_pictures_that_cannot_be_transformed_are_errors() -> None:
    with pytest.raises(InvalidInput, match="pictures given: 1; expected 2"):
        next(transform(PAINT, nothing, PHOTO))
    with pytest.raises(InvalidInput, match="60 × 200 pixels; expected at least 75"):
        next(transform(DREAM, nothing, PHOTO[:, :60]))


def test_verbs_and_steps_go_through_json() -> None:
    for verb in (DREAM, PAINT):
        assert msgspec.json.decode(msgspec.json.encode(verb), type=Verb) == verb
    assert np.array_equal(AddImageNetMeans()(ImageNetMeans()(PHOTO)), PHOTO)
    assert resize_images(PHOTO.astype(np.float32), (80, 100)).shape == (1, 80, 100, 3)


@pytest.mark.parametrize("name", ["deepdream", "style_transfer"])
def test_the_graph_s_gradient_is_the_slope_of_its_loss(name: str) -> None:
    """A small step along the gradient changes the loss by as much as the gradient says."""
    task = catalogue.find_task(name)
    params = task.defaults("sample")
    data = task.data("sample", params)
    assert task.graphs
    models = task.graphs(task.build(data, params))
    graph = models["gradient"]
    feeds = {key: array[:2] for key, array in compute_examples(models, data).graphs["gradient"].inputs.items()}
    out = {key: keras.ops.convert_to_numpy(value) for key, value in graph(feeds).items()}
    assert out["gradient"].shape == feeds["image"].shape
    size = float(np.abs(feeds["image"]).mean() * 1e-3 / np.abs(out["gradient"]).mean())
    for sign in (1, -1):
        moved = graph({**feeds, "image": (feeds["image"] + sign * size * out["gradient"]).astype(np.float32)})
        change = np.asarray(moved["loss"]) - out["loss"]
        expected = sign * size * (out["gradient"].astype(np.float64) ** 2).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(change, expected, rtol=0.25)
    other = graph({**feeds, "image": np.concatenate([feeds["image"][:1], feeds["image"][:1]])})
    np.testing.assert_allclose(np.asarray(other["loss"])[0], out["loss"][0], rtol=1e-3)  # rows do not mix

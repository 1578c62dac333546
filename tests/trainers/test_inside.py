"""Looking inside: small networks made by hand, whose layers, gradients and latent spaces are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bookserve import pictures, vocabulary
from bookserve.bundle import Manifest, new_version, seal
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.examples import Examples
from bookserve.run import Origin, Recipe, Run, create
from bookserve.steps import Image, ImageNetMeans, Pixels, Scale, TopLabels, Words
from bookserve.verb import Predict, Sample, Verb
from bookserve.vocabulary import Vocabulary
from trainers.inside.cli import inside
from trainers.inside.source import IN_BUNDLE, Affine, Source, find

SIZE = 12
CORNERS = ("none", "top left")
VERB = Predict(
    inputs={"image": (Image(SIZE, SIZE, 1), Scale(1 / 255))}, outputs={"probabilities": (TopLabels(CORNERS),)}
)
ORIGIN = Origin(
    task="mnist_convnet", section="5.1", summary="", data="sample", dataset="made by hand", book={}, metric=""
)
GREY = Affine(np.array([[1 / 255]], np.float32), np.zeros(1, np.float32))


@pytest.fixture(scope="module")
def model() -> Any:
    """A convnet with a model inside: filter 0 sees brightness, filter 1 darkness; class 1 is brightness anywhere."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 1))
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="look")(image)
    base = keras.Model(image, layers.MaxPooling2D(2, name="pool")(x), name="base")
    net = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1), name="image"),
            base,
            layers.Conv2D(2, 1, name="mix"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )
    bright = np.full((3, 3, 1), 1 / 9, np.float32)
    base.get_layer("look").set_weights([np.stack([bright, -bright], axis=-1), np.array([0, 1], np.float32)])
    net.get_layer("mix").set_weights([np.eye(2, dtype=np.float32)[None, None], np.zeros(2, np.float32)])
    net.get_layer("classes").set_weights([np.array([[-4, 4], [0, 0]], np.float32), np.array([1, -1], np.float32)])
    return net


@pytest.fixture
def photo() -> np.ndarray:
    """A bright square in the top left quadrant, uint8 [12, 12]."""
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[1:5, 1:5] = 255
    return pixels


def keep(model: Any, runs: Path, verb: Verb, rows: np.ndarray, task: str = "mnist_convnet") -> Run:
    """A finished run, as far as it is read here."""
    run = create(runs, task)
    model.save(run.path / "model.keras")
    vocabulary.save(Recipe(origin=ORIGIN, verb=verb, graphs={}), run.path / "task.json")
    Examples({}, rows).save(run.path / "examples.npz")
    run.write("metrics.json", {})
    return run


def bundle_of(run: Run, models: Path) -> Path:
    with new_version(models, run.task) as directory:
        (directory / "assets").mkdir()
        (directory / IN_BUNDLE).write_bytes((run.path / "model.keras").read_bytes())
        (directory / "examples.npz").write_bytes((run.path / "examples.npz").read_bytes())
        seal(directory, Manifest(name=run.task, verb=run.recipe.verb, graphs={}, origin=run.recipe.origin))
    return models / run.task


@pytest.fixture
def run(model: Any, photo: np.ndarray, tmp_path: Path) -> Run:
    return keep(model, tmp_path / "runs", VERB, photo[None])


def seen(photo: np.ndarray) -> np.ndarray:
    return VERB.encode(photo[None])["image"]


def test_activations_are_the_outputs_of_each_layer_also_inside_a_model(model: Any, photo: np.ndarray) -> None:
    import keras

    from trainers.inside.activations import activations

    found = activations(model, seen(photo))
    assert list(found) == ["base/look", "base/pool", "mix", "mean", "classes"]
    base = model.get_layer("base")
    parts = {f"base/{name}": keras.Model(base.inputs, base.get_layer(name).output) for name in ("look", "pool")}
    parts |= {name: keras.Model(model.inputs, model.get_layer(name).output) for name in ("mix", "mean", "classes")}
    for name, part in parts.items():
        np.testing.assert_allclose(found[name], part.predict_on_batch(seen(photo)), rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_called_twice_is_seen_twice() -> None:
    import keras

    from trainers.inside.activations import activations

    x = keras.Input((3,))
    double = keras.layers.Rescaling(2.0, name="double")
    found = activations(keras.Model(x, double(double(x))), np.ones((1, 3), np.float32))
    assert {name: array[0, 0] for name, array in found.items()} == {"double": 2, "double:2": 4}


def test_a_sheet_has_sixteen_channels_a_row_and_blank_ones_are_black() -> None:
    from bookserve.explain import sheet

    maps = np.random.default_rng(0).uniform(size=(1, 29, 29, 20))
    maps[..., 1] = 0.7
    picture = sheet(maps)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * 60, 16 * 60, 3)  # enlarged twice, with a margin around each
    assert not picture[:60, 60:120].any()
    assert picture[:60, :60].any()
    np.testing.assert_array_equal(sheet(maps * 1000 + 5)[:60, :60], picture[:60, :60])  # each channel on its own scale
    assert sheet(np.arange(10.0)[None]).ndim == 3


def test_filters_climb_to_what_they_answer_to(model: Any) -> None:
    from trainers.inside.filters import filters, sheet

    patterns = filters(model, "look", GREY, rng=np.random.default_rng(0), steps=30)
    assert patterns.answers.shape == (31, 2)
    assert (np.diff(patterns.answers, axis=0) > 0).all()
    # Grey level 138 on average, and 30 steps of 1 towards bright or dark: a share of 30/255 each.
    np.testing.assert_allclose(np.abs(np.diff(patterns.answers[[0, -1]], axis=0)), 30 / 255, rtol=0.15)
    assert patterns.pixels.shape == (2, SIZE, SIZE, 1)
    assert patterns.pixels.dtype == np.uint8
    assert sheet(patterns.pixels).shape[1] % 8 == 0
    again = filters(model, "base/look", GREY, rng=np.random.default_rng(0), steps=30)
    np.testing.assert_array_equal(patterns.pixels, again.pixels)


def test_a_filter_that_never_answers_is_black() -> None:
    import keras

    from trainers.inside.filters import filters

    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(20, 3, activation="relu", name="c")])
    kernel = np.ones((3, 3, 1, 20), np.float32)
    kernel[..., 18] = -1
    model.set_weights([kernel, np.zeros(20, np.float32)])
    patterns = filters(model, "c", GREY, rng=np.random.default_rng(0), steps=2, size=9)
    assert patterns.pixels.shape == (20, 9, 9, 1)  # the size that was asked for, as the model takes any
    assert [bool(picture.any()) for picture in patterns.pixels] == [number != 18 for number in range(20)]


def test_filters_of_what_is_no_map_or_no_layer(model: Any) -> None:
    from trainers.inside.filters import filters

    with pytest.raises(InvalidInput, match=r"layer 'mean' gives \[2\]"):
        filters(model, "mean", GREY, rng=np.random.default_rng(0))
    with pytest.raises(NotFound, match="Did you mean base/look"):
        filters(model, "lok", GREY, rng=np.random.default_rng(0))


def test_grad_cam_is_hot_where_the_object_is(model: Any, photo: np.ndarray) -> None:
    from bookserve.explain import overlay
    from trainers.inside.gradcam import gradcam

    likeliest = gradcam(model, seen(photo), layer="pool")
    assert likeliest.probability > 0.5
    assert (likeliest.chosen, likeliest.heatmap.shape) == (0, (6, 6))
    heat = gradcam(model, seen(photo), 1)
    assert heat.heatmap.shape == (6, 6)
    assert heat.heatmap.max() == 1
    quadrant = heat.heatmap[:3, :3].sum()
    assert quadrant > 0.9 * heat.heatmap.sum()
    other = np.rot90(photo, 2)
    assert gradcam(model, seen(other), 1).heatmap[3:, 3:].sum() == pytest.approx(quadrant)
    laid = overlay(heat.heatmap, np.full((48, 60, 3), 100, np.uint8)).astype(int)
    assert laid.shape == (48, 60, 3)
    assert abs(laid[:24, :30] - 100).sum() > 5 * abs(laid[24:, 30:] - 100).sum()


def test_grad_cam_of_a_network_with_one_output_knows_both_classes(photo: np.ndarray) -> None:
    import keras
    from keras import layers

    from trainers.inside.gradcam import gradcam

    image = keras.Input((SIZE, SIZE, 1))
    maps = layers.Conv2D(1, 1, name="only")(image)
    score = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(image, score)
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.ones((1, 1)), np.zeros(1)])
    bright, dark = (gradcam(model, seen(photo), index) for index in (1, 0))
    assert bright.probability + dark.probability == pytest.approx(1)
    np.testing.assert_array_equal(bright.heatmap, photo / 255)
    assert not dark.heatmap.any()  # brightness speaks against it, and nothing for it: zeros, no division by zero
    with pytest.raises(InvalidInput, match="no class 2"):
        gradcam(model, seen(photo), 2)


def test_grad_cam_follows_a_way_around_the_layer(photo: np.ndarray) -> None:
    import keras
    from keras import layers

    from trainers.inside.gradcam import gradcam

    image = keras.Input((SIZE, SIZE, 1))
    added = layers.Add()([layers.Conv2D(1, 1, name="conv")(image), image])
    model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(added)))
    assert gradcam(model, seen(photo), layer="conv").heatmap.shape == (SIZE, SIZE)


def test_networks_that_cannot_be_looked_into() -> None:
    import keras

    from trainers.inside.gradcam import gradcam
    from trainers.inside.layers import names

    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="flat")
    with pytest.raises(InvalidInput, match="flat has no convolution layer"):
        gradcam(flat, np.ones((1, 4), np.float32))

    class Own(keras.Model):  # type: ignore[misc]
        pass

    with pytest.raises(InvalidInput, match="the layers of own have no known order"):
        names(Own(name="own"))


def test_a_concept_of_a_linear_encoder_is_exact() -> None:
    from trainers.inside.concepts import along, concept

    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(16, 3)).astype(np.float32)
    difference = rng.normal(size=16).astype(np.float32)
    plain = rng.normal(size=(5, 16)).astype(np.float32)

    def encode(rows: Any) -> np.ndarray:
        return np.asarray(rows) @ matrix

    vector = concept(encode, plain + difference, plain)
    np.testing.assert_allclose(vector, difference @ matrix, atol=1e-5)
    moved = along(encode, lambda points: points, plain, vector, (0, 1, 2))
    assert moved.shape == (5, 3, 3)
    np.testing.assert_allclose(moved[:, 1], encode(plain + difference), atol=1e-4)
    np.testing.assert_allclose(moved[:, 2], encode(plain + 2 * difference), atol=1e-4)
    with pytest.raises(InvalidInput, match="pictures without"):
        concept(encode, plain, plain[:0])


def test_the_colours_that_a_network_sees_are_measured() -> None:
    verb = Predict(inputs={"image": (Image(4, 4, 3), ImageNetMeans())}, outputs={"x": ()})
    affine = Source("vgg", ORIGIN, verb, {}, []).affine()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    np.testing.assert_allclose(pixels @ affine.matrix + affine.offset, verb.encode(pixels[None])["image"][0], atol=1e-3)


def test_a_model_that_takes_texts_is_told_so() -> None:
    verb = Predict(inputs={"tokens": (Words(Vocabulary("words", ["good"])),)}, outputs={"score": ()})
    with pytest.raises(InvalidInput, match="takes no picture alone: it takes tokens"):
        Source("reviews", ORIGIN, verb, {}, []).encode(["good"])


@pytest.fixture
def look() -> Iterator[Any]:
    """Run ``bookserve inside …`` and return what it said."""

    def call(*words: object) -> str:
        return CliRunner().invoke(inside, list(map(str, words)), catch_exceptions=False).output

    yield call


def test_run_and_bundle_give_the_same_pictures(run: Run, photo: np.ndarray, look: Any, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(pictures.encode_png(photo.repeat(30, axis=0).repeat(30, axis=1)))
    model = bundle_of(run, tmp_path / "models")
    for place, name in (("a", run.path), ("b", model), ("c", model / "1")):
        out = ("-o", tmp_path / place)
        look("activations", name, file, *out)
        look("filters", name, "--steps", 2, *out)
        assert "top left" in look("gradcam", name, file, "--class", "top left", *out)
    written = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert "activations_1_base_look.png" in written
    assert {"filters_base_look.png", "filters_mix.png", "gradcam_heatmap.png", "gradcam_overlay.png"} < written.keys()
    assert pictures.decode_png(written["gradcam_overlay.png"]).shape == (360, 360, 3)  # the photo's own size
    for place in ("b", "c"):
        assert {path.name: path.read_bytes() for path in (tmp_path / place).iterdir()} == written


def test_an_example_of_the_run_stands_in_for_a_file(run: Run, look: Any, tmp_path: Path) -> None:
    said = look("gradcam", run.name, "--runs", run.path.parent.parent, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "gradcam_overlay.png").exists()
    assert "top left 0." in said or "none 0." in said
    with pytest.raises(NotFound, match="no class 'left'"):
        look("gradcam", run.path, "--class", "left", "-o", tmp_path / "out")


def test_what_cannot_be_opened(run: Run, model: Any, tmp_path: Path) -> None:
    whole = bundle_of(run, tmp_path / "models")
    (whole / "1" / IN_BUNDLE).unlink()
    with pytest.raises(NotFound, match=r"has no assets/model\.keras"):
        find(str(whole), tmp_path)
    (run.path / "model.keras").write_bytes(b"nothing")
    with pytest.raises(Failed, match=r"model\.keras cannot be loaded"):
        find(str(run.path), tmp_path)
    with pytest.raises(NotFound, match="no finished run of 'nothing'"):
        find("nothing", tmp_path)


def test_a_concept_is_drawn_from_folders_and_labels(tmp_path: Path, look: Any) -> None:
    from trainers.ch08 import mnist_vae

    verb = Sample(latent=2, after=(Pixels(),), before=mnist_vae.VERB.before, encode="encode")
    vae = mnist_vae.build(None, {"learning_rate": 0.001, "divergence_weight": 1e-3})  # type: ignore[arg-type]
    run = create(tmp_path / "runs", "mnist_vae")
    vae.save(run.path / "model.keras")
    origin = Origin(task="mnist_vae", section="8.4", summary="", data="sample", dataset="", book={}, metric="")
    vocabulary.save(Recipe(origin=origin, verb=verb, graphs={}), run.path / "task.json")
    Examples({}, np.zeros((1, 28, 28), np.uint8)).save(run.path / "examples.npz")
    run.write("metrics.json", {})
    for name, pixels in (("with", 200), ("without", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.png").write_bytes(pictures.encode_png(np.full((28, 28), pixels, np.uint8)))
    out = ("-o", tmp_path / "out")
    look("concept", run.path, "--with", tmp_path / "with", "--without", tmp_path / "without", *out)
    look("concept", run.path, "--with", "7", "--without", "1", "-n", 3, *out)
    first, second = (pictures.decode_png((tmp_path / "out" / name).read_bytes()) for name in sorted(FILES))
    assert first.shape == (3 * 56, 7 * 56, 1)
    assert second.shape == (56, 7 * 56, 1)
    with pytest.raises(NotFound, match=r"'eleven' is neither a folder nor a label.*Its labels are 0, 1"):
        look("concept", run.path, "--with", "eleven", "--without", "1", *out)
    with pytest.raises(InvalidInput, match="has no classes: its verb is sample"):
        look("gradcam", run.path, *out)


FILES = ("concept_7_without_1.png", "concept_with_without_without.png")


def test_a_concept_needs_an_encoder(run: Run, look: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot encode pictures: it does predict"):
        look("concept", run.path, "--with", "1", "--without", "0")

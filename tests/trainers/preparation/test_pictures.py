"""Augmentation, photos and pretrained weights: the arrays are what the server would compute."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bookserve.errors import Failed, NotFound
from bookserve.images import encode_png
from bookserve.steps import DigitImage, Image
from trainers import catalogue
from trainers.datasets import cats_dogs, imagenet, mnist, photos
from trainers.datasets.dataset import Split
from trainers.networks import mobilenet, vgg
from trainers.preparation import own_digits
from trainers.preparation.augmentation import random_affine, random_handwriting

REAL = os.environ.get("BOOKSERVE_DATA")
NOTHING = {"turn": 0.0, "shift": 0.0, "shear": 0.0, "zoom": 0.0, "flip": False}


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.asarray(cats_dogs.load("sample", 48).train.rows)[:8]


def test_augmentation_without_changes_returns_the_rows(rows: np.ndarray) -> None:
    augment = random_affine(**NOTHING)  # type: ignore[arg-type]
    assert np.array_equal(augment(rows, np.random.default_rng(0)), rows)


def test_mirrored_pictures_are_mirrored(rows: np.ndarray) -> None:
    augment = random_affine(**{**NOTHING, "flip": True})  # type: ignore[arg-type]
    changed = augment(rows, np.random.default_rng(0))
    same = [np.array_equal(new, old) for new, old in zip(changed, rows, strict=True)]
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(changed, rows, strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert any(mirrored)
    assert any(same)


def test_a_shifted_picture_continues_its_edge(rows: np.ndarray) -> None:
    """A picture of stripes: shifted, each row still has its one colour, and no black comes in."""
    stripes = np.broadcast_to(np.linspace(100, 200, 48)[:, None, None], (48, 48, 3)).astype(np.uint8)[None]
    changed = random_affine(**{**NOTHING, "shift": 0.4})(stripes, np.random.default_rng(3))[0]  # type: ignore[arg-type]
    assert (changed == changed[:, :1]).all()
    assert changed.min() >= 100
    assert not np.array_equal(changed, stripes[0])


def test_the_book_s_changes_are_drawn_by_the_generator(rows: np.ndarray) -> None:
    augment = random_affine(turn=40, shift=0.2, shear=0.2, zoom=0.2, flip=True)
    first, again, other = (augment(rows, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == rows.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(first.mean() - rows.mean()) < 25


@pytest.mark.parametrize("layout", ["book", "kaggle"])
def test_photos_are_read_as_the_step_reads_them_and_left_alone(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: np.ndarray
) -> None:
    folder = tmp_path / "cats_vs_dogs_small"
    monkeypatch.setattr(
        cats_dogs, "_RANGES", {"train": range(2), "validation": range(2, 4), "test": range(4, 10)}, raising=True
    )
    for part, numbers in cats_dogs._RANGES.items():
        for kind in ("cat", "dog"):
            inner = folder / "train" if layout == "kaggle" else folder / part / f"{kind}s"
            inner.mkdir(parents=True, exist_ok=True)
            for number in numbers:
                (inner / f"{kind}.{number}.jpg").write_bytes(encode_png(rows[number % 8]))
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    pets = cats_dogs.load("real", 32)
    assert [len(part.labels) for part in (pets.train, pets.validation, pets.test) if part] == [4, 4, 12]
    assert pets.train.labels.tolist() == [0, 0, 1, 1]
    assert pets.about.endswith("1,000 to test (reduced: the shorter side has 48 pixels)")
    assert np.array_equal(pets.train.rows[0], Image(32, 32)([encode_png(rows[0])])[0])
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    before[-1][0].unlink()
    with pytest.raises(NotFound, match=r"lacks 1 photos.*Kaggle|lacks 1 photos.*kaggle"):
        cats_dogs.load("real", 32)


def test_the_error_for_missing_photos_says_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    with pytest.raises(NotFound, match=r"cats_vs_dogs_small is missing.*kaggle.*--data sample"):
        cats_dogs.load("real")
    monkeypatch.delenv("BOOKSERVE_DATA")
    with pytest.raises(NotFound, match="BOOKSERVE_DATA is not set"):
        photos.load("real")


def test_pretrained_weights_fit_their_network_only(tmp_path: Path) -> None:
    """A file as keras.applications publishes them: HDF5 of the very layers."""
    published = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    published.save_weights(tmp_path / "vgg16.weights.h5")
    loaded = vgg.build_vgg("vgg16", str(tmp_path / "vgg16.weights.h5"), (32, 32))
    picture = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(loaded(picture), published(picture), rtol=1e-5)
    assert loaded.count_params() == 14_714_688
    assert [layer.name for layer in loaded.layers[1:]] == [layer.name for layer in published.layers[1:]]
    with pytest.raises(Failed, match="does not have the weights of vgg19"):
        vgg.build_vgg("vgg19", str(tmp_path / "vgg16.weights.h5"), (32, 32))
    with pytest.raises(NotFound, match=r"no file 'nowhere\.h5'"):
        vgg.build_vgg("vgg16", "nowhere.h5", (32, 32))


def test_random_bases_are_the_same_each_time() -> None:
    first, second = (vgg.build_vgg("vgg19", "none", (32, 32), 0.125, 2) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def test_the_error_for_missing_weights_names_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    with pytest.raises(NotFound, match=r"vgg16_weights_tf_dim_ordering_tf_kernels_notop\.h5 is missing"):
        imagenet.find_weights("vgg16_notop", "imagenet")


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("vgg16_notop", "vgg16_weights_notop.h5"),
        ("vgg16_notop", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("vgg16", "vgg16.weights.h5"),
        ("squeezenet_notop", "squeezenet_no_top.h5"),
        ("mobilenet_v2_1.0_224", "mobilenet_v2_1.0_224.weights.h5"),
        ("mobilenet_v2_0.35_96", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"),
        ("mobilenet_0.25_128", "mobilenet_0.25_128.weights.h5"),
    ],
)
def test_weights_are_found_by_name(network: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    for other in ("vgg16_notop.txt", "vgg19_notop.h5", "mobilenet_0.25_128_notop.h5", "resnet.h5"):
        (tmp_path / "weights" / other).touch()
    with pytest.raises(NotFound, match="missing") as error:
        imagenet.find_weights(network, "imagenet")
    assert "-p weights=PATH" in str(error.value.hint)
    (tmp_path / "weights" / name).touch()
    assert imagenet.find_weights(network, "imagenet") == tmp_path / "weights" / name
    assert imagenet.find_weights(network, "none") is None


def test_sizes_without_published_weights_are_not_found() -> None:
    with pytest.raises(NotFound, match=r"no weights of mobilenet_0\.3_128 are published") as error:
        mobilenet.build_mobilenet("mobilenet", 0.3, 128, "imagenet")
    assert "mobilenet_0.25_128" in str(error.value.hint)
    with pytest.raises(NotFound, match="no network 'mobilenet_v9'"):
        mobilenet.build_mobilenet("mobilenet_v9", 1.0, 224, "none")


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_the_book_s_elephants_are_african() -> None:
    task = catalogue.find_task("imagenet_classifier")
    params = task.defaults("real") | {"network": "mobilenet", "alpha": 0.25, "size": 128}
    data = task.data("real", params)
    model = task.build(data, params)
    answers = data.verb.decode({"probabilities": model.predict(data.example_feeds["serving_default"]["image"])})
    assert answers[0]["probabilities"][0].label == "African elephant"
    assert task.conclude
    assert task.conclude(model, data, params)["elephant_probability"] > 0.5


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_the_real_photos_and_labels_are_there() -> None:
    pets = cats_dogs.load("real", 32)
    assert [len(part.labels) for part in (pets.train, pets.validation, pets.test) if part] == [2000, 1000, 1000]
    assert imagenet.class_names()[386] == "African elephant"
    assert next(iter(photos.load("real").values())).shape == (351, 525, 3)


def test_digits_in_another_hand_have_the_form_of_mnist_s() -> None:
    rows = np.asarray(mnist.load("sample").train.rows)[:40]
    assert np.array_equal(random_handwriting(share=0)(rows, np.random.default_rng(0)), rows)
    same = random_handwriting(share=1, turn=0, slant=0, stretch=0, coarse=0)(rows, np.random.default_rng(0))
    changed, again = (random_handwriting(share=1)(rows, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(changed, again)
    assert np.array_equal(DigitImage()(changed)[..., 0], changed)  # so they keep their pixels
    assert np.abs(same.astype(float) - rows).mean() < np.abs(changed.astype(float) - rows).mean() / 2
    half = random_handwriting(share=0.5)(rows, np.random.default_rng(2))
    assert 10 <= (half != rows).any(axis=(1, 2)).sum() <= 30


def test_other_hands_are_seen_in_training_only() -> None:
    task = catalogue.find_task("mnist_convnet")
    plain, other = (task.data("sample", {**task.defaults("sample"), "other_hands": share}) for share in (0.0, 1.0))
    index = np.arange(20)
    (x, y), unchanged, (changed, same) = (
        plain.train.batch(index),
        other.train.batch(index),
        other.train.batch(index, np.random.default_rng(0)),
    )
    assert np.array_equal(np.asarray(x), np.asarray(unchanged[0]))
    assert not np.array_equal(np.asarray(x), np.asarray(changed))
    assert np.array_equal(np.asarray(y), np.asarray(same))


class AlwaysSeven:
    """A model that answers 7 to everything."""

    def predict(self, pictures: np.ndarray, verbose: int) -> np.ndarray:
        assert pictures.shape[1:] == (28, 28, 1)
        answers: np.ndarray = np.eye(10)[np.full(len(pictures), 7)]
        return answers


def test_own_digits_are_measured_for_a_model_of_the_real_data_only(monkeypatch: pytest.MonkeyPatch) -> None:
    task = catalogue.find_task("mnist_convnet")
    params = task.defaults("sample")
    data = task.data("sample", params)
    small = mnist.scikit_learn_digits()
    monkeypatch.setattr(own_digits, "_EACH", 1)
    monkeypatch.setattr(own_digits, "scikit_learn_digits", lambda: Split(small.rows[:50], small.labels[:50]))
    model: Any = AlwaysSeven()
    assert own_digits.own_digit_figures(model, data, {**params, "data": "sample"}) == {}
    figures = own_digits.own_digit_figures(model, data, {**params, "data": "real"})
    assert figures == {"drawn_accuracy": 0.1, "scikit_learn_accuracy": (small.labels[:50] == 7).mean()}
    blank = np.zeros((8, 8), np.uint8)
    monkeypatch.setattr(
        own_digits, "scikit_learn_digits", lambda: Split(np.stack([blank, small.rows[7]]), np.array([7, 7]))
    )
    figures = own_digits.own_digit_figures(model, data, {**params, "data": "real"})
    assert figures["scikit_learn_accuracy"] == 0.5  # a picture that is refused is not read

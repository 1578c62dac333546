"""Opening the trained model of a run or a bundle, its pictures and colours, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve import images as pictures
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.run import Run
from bookserve.steps import Image, ImageNetMeans, Words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict
from tests.trainers.inspect.small import ORIGIN, bundle_of
from trainers.inspect.trained_model import KERAS_MODEL_IN_BUNDLE, TrainedModel, open_trained_model


def test_the_colours_that_a_network_sees_are_measured() -> None:
    verb = Predict(inputs={"image": (Image(4, 4, 3), ImageNetMeans())}, outputs={"x": ()})
    affine = TrainedModel("vgg", ORIGIN, verb, {}, []).pixel_transform()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    np.testing.assert_allclose(pixels @ affine.matrix + affine.offset, verb.encode(pixels[None])["image"][0], atol=1e-3)


def test_a_model_that_takes_texts_is_an_error() -> None:
    verb = Predict(inputs={"tokens": (Words(Vocabulary("words", ["good"])),)}, outputs={"score": ()})
    with pytest.raises(InvalidInput, match="does not take a single picture: its inputs are tokens"):
        TrainedModel("reviews", ORIGIN, verb, {}, []).encode_pictures(["good"])


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
    assert pictures.decode_image(written["gradcam_overlay.png"]).shape == (360, 360, 3)  # the photo's own size
    for place in ("b", "c"):
        assert {path.name: path.read_bytes() for path in (tmp_path / place).iterdir()} == written


def test_without_a_file_an_example_of_the_run_is_used(run: Run, look: Any, tmp_path: Path) -> None:
    said = look("gradcam", run.name, "--runs", run.path.parent.parent, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "gradcam_overlay.png").exists()
    assert "top left: probability 0." in said or "none: probability 0." in said
    with pytest.raises(NotFound, match="no class 'left'"):
        look("gradcam", run.path, "--class", "left", "-o", tmp_path / "out")


def test_what_cannot_be_opened(run: Run, model: Any, tmp_path: Path) -> None:
    whole = bundle_of(run, tmp_path / "models")
    (whole / "1" / KERAS_MODEL_IN_BUNDLE).unlink()
    with pytest.raises(NotFound, match=r"has no assets/model\.keras"):
        open_trained_model(str(whole), tmp_path)
    (run.path / "model.keras").write_bytes(b"nothing")
    with pytest.raises(Failed, match=r"model\.keras cannot be loaded"):
        open_trained_model(str(run.path), tmp_path)
    with pytest.raises(NotFound, match="no finished run of 'nothing'"):
        open_trained_model("nothing", tmp_path)

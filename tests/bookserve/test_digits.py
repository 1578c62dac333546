"""Digits of MNIST's form: the same from every picture of the same strokes, and MNIST's own unchanged."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow

from bookserve.digits import BOX, SIDE
from bookserve.errors import InvalidInput
from bookserve.steps import DigitImage, Scale, Step, TopLabels
from bookserve.verb import Predict
from trainers.datasets.drawn_digits import WAYS, draw_digit, drawn_digits

REAL = os.environ.get("BOOKSERVE_DATA")
STEP = DigitImage()


def png(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def strokes(digit: int = 5) -> Pillow.Image:
    """A digit, dark on white, cut out of its page: mode L."""
    page = Pillow.open(io.BytesIO(draw_digit(digit, "centred", np.random.default_rng(3)))).convert("L")
    page = page.point(lambda value: 255 if value > 224 else value)
    return page.crop(page.point(lambda value: 255 - value).getbbox())


def page(picture: Pillow.Image, size: tuple[int, int], place: tuple[int, int], paper: int = 255) -> Pillow.Image:
    whole = Pillow.new("L", size, paper)
    whole.paste(picture, place)
    return whole


def read(picture: Pillow.Image) -> np.ndarray:
    return STEP([png(picture)])[0, :, :, 0]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    digit = strokes()
    return read(page(digit, (400, 400), (130, 120)))


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two pictures at the best of nine places, as the centre is rounded to a pixel."""
    moved = [np.roll(second, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    return max(float(np.corrcoef(first.ravel(), other.ravel())[0, 1]) for other in moved)


def test_likeness_tells_digits_apart(expected: np.ndarray) -> None:
    for other in (0, 1, 2, 3, 4, 6, 7, 8, 9):
        assert likeness(read(page(strokes(other), (400, 400), (130, 120))), expected) < 0.8


def test_the_digit_is_boxed_to_20_pixels_and_centred_by_its_mass(expected: np.ndarray) -> None:
    down, across = expected.sum(axis=1, dtype=float), expected.sum(axis=0, dtype=float)
    assert max(np.ptp(np.flatnonzero(down)), np.ptp(np.flatnonzero(across))) + 1 in (BOX - 1, BOX)
    for sums in (down, across):
        assert abs(sums @ np.arange(SIDE) / sums.sum() - SIDE / 2) <= 0.5
    assert expected.max() > 250
    assert expected[0].max() == 0


def test_what_has_the_form_already_is_kept(expected: np.ndarray) -> None:
    for row in (expected, expected[..., None], expected.ravel(), expected.tolist(), png(Pillow.fromarray(expected))):
        assert np.array_equal(STEP([row])[0, :, :, 0], expected)
    batch = np.stack([expected, 255 - expected])
    assert np.array_equal(STEP(batch)[..., 0], np.stack([expected, expected]))
    assert np.array_equal(batch[1], 255 - expected)  # the caller's rows are not changed


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_each_picture_of_mnist_is_kept() -> None:
    with np.load(Path(str(REAL)) / "keras" / "datasets" / "mnist.npz", allow_pickle=False) as arrays:
        for rows in (arrays["x_train"], arrays["x_test"]):
            assert np.array_equal(STEP(rows)[..., 0], rows)


@pytest.mark.parametrize("place", [(2, 2), (700, 20), (330, 600)], ids=["corner", "other corner", "bottom"])
def test_place_and_size_on_the_page_do_not_matter(expected: np.ndarray, place: tuple[int, int]) -> None:
    small = strokes().resize((60, 90), Pillow.Resampling.BOX)
    assert likeness(read(page(small, (800, 700), place)), read(page(small, (200, 200), (70, 50)))) > 0.97
    assert likeness(read(page(strokes(), (800, 900), place)), expected) > 0.97


def test_either_polarity_and_every_mode_is_read(expected: np.ndarray) -> None:
    dark = page(strokes(), (400, 400), (130, 120))
    light = dark.point(lambda value: 40 + (255 - value) // 2)
    assert likeness(read(light), expected) > 0.97
    red = Pillow.merge("RGB", (Pillow.new("L", dark.size, 255), dark, dark))
    assert likeness(read(red), expected) > 0.97
    assert likeness(read(dark.convert("P")), expected) > 0.97
    assert likeness(STEP([np.asarray(red)])[0, :, :, 0], expected) > 0.97


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_strokes_on_a_transparent_canvas_are_ink_of_any_colour(expected: np.ndarray, colour: int) -> None:
    ink = page(strokes(), (400, 400), (130, 120)).point(lambda value: 255 - value)
    grey = Pillow.new("L", ink.size, colour)
    assert likeness(read(Pillow.merge("RGBA", (grey, grey, grey, ink))), expected) > 0.97


def test_a_photo_s_light_and_the_table_beside_the_paper_do_not_matter(expected: np.ndarray) -> None:
    paper = np.asarray(page(strokes(), (600, 800), (220, 300)), float) / 255
    light = np.linspace(0.4, 1, 800)[:, None] * np.linspace(0.7, 1, 600)
    scene = (0.25 + 0.75 * paper) * light * 220
    scene += np.random.default_rng(0).normal(0, 4, scene.shape)
    for beside in (slice(0, 0), slice(0, 40), slice(760, 800)):
        scene[beside] = 30
        picture = Pillow.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
        assert likeness(read(picture), expected) > 0.95


def test_a_photo_on_its_side_is_turned_as_its_file_says(expected: np.ndarray) -> None:
    turned = page(strokes(), (400, 400), (130, 120)).transpose(Pillow.Transpose.ROTATE_90)
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° to the right
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", quality=95, exif=exif)
    assert likeness(STEP([buffer.getvalue()])[0, :, :, 0], expected) > 0.97


def test_thin_and_thick_pens_are_made_alike() -> None:
    rng = [np.random.default_rng(7) for _ in range(3)]  # the same digit with three pens
    thin, middle, thick = (
        STEP([draw_digit(3, way, generator)])[0]
        for way, generator in zip(("thin", "centred", "thick"), rng, strict=True)
    )
    assert 0.8 < thin.mean() / middle.mean() < 1.25
    assert 1 < thick.mean() / middle.mean() < 1.9


def test_specks_are_no_ink_and_the_bar_of_a_5_is(expected: np.ndarray) -> None:
    dirty = page(strokes(), (400, 400), (130, 120))
    for spot in ((20, 30), (380, 350), (60, 300)):
        dirty.paste(0, (*spot, spot[0] + 4, spot[1] + 4))
    assert likeness(read(dirty), expected) > 0.97
    apart = dirty.copy()
    box = apart.point(lambda value: 255 - value).crop((100, 100, 300, 300)).getbbox()
    assert box
    apart.paste(255, (100, 100 + (box[1] + box[3]) // 2 - 3, 300, 100 + (box[1] + box[3]) // 2 + 3))  # cut in two
    assert likeness(read(apart), expected) > 0.8


def test_a_digit_that_fills_its_picture_is_read(expected: np.ndarray) -> None:
    assert likeness(read(strokes()), expected) > 0.97
    tiny = strokes().resize((8, 8), Pillow.Resampling.BOX)
    assert likeness(STEP([255 - np.asarray(tiny)])[0, :, :, 0], STEP([np.asarray(tiny)])[0, :, :, 0]) > 0.97


@pytest.mark.parametrize(
    "row",
    [
        np.zeros((28, 28), np.uint8),
        np.full((300, 200), 255, np.uint8),
        np.random.default_rng(0).normal(200, 4, (400, 400)).astype(np.uint8),
        np.tile(np.linspace(90, 220, 300).astype(np.uint8), (400, 1)),
        np.zeros((1, 1), np.uint8),
    ],
    ids=["black", "white", "grain", "shade", "one pixel"],
)
def test_an_empty_page_is_refused(row: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="no ink"):
        STEP([row])


def test_an_empty_page_in_a_batch_is_named(expected: np.ndarray) -> None:
    verb = Predict(inputs={"image": (STEP, Scale(1 / 255))}, outputs={"p": (TopLabels(tuple("0123456789")),)})
    with pytest.raises(InvalidInput, match=r"row 1: there is no ink"):
        verb.encode([expected, np.zeros((28, 28), np.uint8)])


def test_whatever_the_pixels_are_a_digit_or_a_refusal_comes_out() -> None:
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (1, 300), (300, 1), (2, 2), (8, 8), (28, 28), (64, 64), (65, 65), (100, 3), (150, 200)]:
        for share in (0.0, 0.02, 0.5, 0.98):
            for noise in (0, 40):
                row = np.clip((rng.random(shape) < share) * 200 + rng.integers(0, noise + 1, shape), 0, 255)
                try:
                    (digit,) = STEP([row.astype(np.uint8)])
                except InvalidInput:
                    continue
                assert digit.shape == (28, 28, 1)
                assert digit.max() > 100


def test_a_large_photo_is_reduced_first() -> None:
    photo = page(strokes(), (4000, 3000), (2000, 1500), 240)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    start = time.process_time()
    STEP([buffer.getvalue()])
    assert time.process_time() - start < 1  # about 0.1 s


def test_it_travels_as_a_tag_and_knows_its_size() -> None:
    assert msgspec.json.encode(STEP) == b'{"step":"digitimage"}'
    assert msgspec.json.decode(b'{"step":"digitimage"}', type=Step) == STEP
    assert (STEP.height, STEP.width, STEP.channels) == (28, 28, 1)


def test_drawn_digits_are_told_apart_by_the_nearest_of_those_drawn_on_a_page() -> None:
    known = drawn_digits(4, seed=1, ways=("centred",))
    asked = drawn_digits(1, seed=2)
    first, second = (
        STEP([picture for _, _, picture in pictures]).reshape(len(pictures), -1).astype(np.float32)
        for pictures in (known, asked)
    )
    nearest = np.argmin(((second[:, None] - first) ** 2).sum(axis=2), axis=1)
    right = np.array([known[index][1] == digit for index, (_, digit, _) in zip(nearest, asked, strict=True)])
    assert right.mean() > 0.8
    for way in WAYS:
        assert right[[drawn == way for drawn, _, _ in asked]].mean() >= 0.6, way

"""Steps: what training, server and client must do alike."""

from __future__ import annotations

import io
import zlib
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow

from bookserve.errors import InvalidInput
from bookserve.steps import (
    BinaryLabel,
    ChannelsFirst,
    Characters,
    Hashed,
    Image,
    ImageNetMeans,
    Label,
    MultiHot,
    MultiLabel,
    NGrams,
    Numbers,
    Pad,
    Pixels,
    Reshape,
    Reverse,
    Scale,
    Softmax,
    Standardise,
    Step,
    TopLabels,
    Words,
)
from bookserve.steps.vocabulary import Vocabulary

WORDS = Vocabulary("words", ["<padding>", "<start>", "<unknown>", "<unused>", "the", "film", "isn't"])


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_words_are_numbered_as_keras_numbers_them() -> None:
    ids = Words(WORDS)(["The FILM, isn't... bad!"])[0]
    assert ids.tolist() == [1, 4, 5, 6, 2]  # start, rank 1 is id 4, unknown is 2


def test_ids_pass_through_words_and_unknown_ones_are_marked() -> None:
    assert Words(WORDS)([[1, 4, 6, 7, 9999]])[0].tolist() == [1, 4, 6, 2, 2]


@pytest.mark.parametrize("row", [{"a": 1}, [1.5], [[1]], [-1], 3])
def test_words_refuse_what_is_neither_text_nor_ids(row: object) -> None:
    with pytest.raises(InvalidInput):
        Words(WORDS)([row])


def test_padding_and_cutting_happen_in_front() -> None:
    padded = Pad(4)([np.array([1, 2]), np.array([1, 2, 3, 4, 5, 6]), np.array([], np.int32)])
    assert padded.tolist() == [[0, 0, 1, 2], [3, 4, 5, 6], [0, 0, 0, 0]]
    assert padded.dtype == np.int32


def test_characters_lower_the_text_unless_the_vocabulary_has_capitals() -> None:
    assert Characters(Vocabulary("c", "ab"))(["AbA"])[0].tolist() == [0, 1, 0]
    assert Characters(Vocabulary("c", "abA"))(["AbA"])[0].tolist() == [2, 1, 2]


def test_unknown_characters_are_named() -> None:
    with pytest.raises(InvalidInput, match="'x'") as caught:
        Characters(Vocabulary("c", "ab"))(["abx"])
    assert "ab" in caught.value.hint


def test_a_picture_is_read_resized_and_turned_to_channels() -> None:
    row = png(np.zeros((40, 20, 3), np.uint8))
    assert Image(28, 28, 1)([row]).shape == (1, 28, 28, 1)
    assert Image(8, 9, 3)([np.zeros((5, 5), np.uint8)]).shape == (1, 8, 9, 3)


def test_ink_on_paper_is_inverted_and_light_on_dark_is_kept() -> None:
    light_on_dark = np.zeros((28, 28), np.uint8)
    light_on_dark[10:18, 10:18] = 200
    ink_on_paper = 255 - light_on_dark
    step = Image(28, 28, 1, background="dark")
    batch = step(np.stack([light_on_dark, ink_on_paper]))
    assert np.array_equal(batch[0], batch[1])
    assert np.array_equal(step([png(ink_on_paper)])[0], batch[0])
    assert np.array_equal(Image(28, 28, 1)([ink_on_paper])[0, :, :, 0], ink_on_paper)


def test_transparent_strokes_lie_on_paper() -> None:
    strokes = np.zeros((28, 28, 4), np.uint8)
    strokes[10:18, 10:18] = [0, 0, 0, 255]
    pixels = Image(28, 28, 1, background="dark")([png(strokes)])[0, :, :, 0]
    assert pixels[14, 14] == 255
    assert pixels[0, 0] == 0


def test_one_bad_picture_does_not_depend_on_the_way_rows_arrive() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    step = Image(28, 28, 1)
    assert np.array_equal(step(rows), step([png(row) for row in rows]))
    assert np.array_equal(step(rows), step(rows.reshape(3, 784).tolist()))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"not a picture", "not a picture"),
        (png(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8))[:400], "cannot be read"),
        ([[0.5] * 28] * 28, "scaled"),
        ([[300] * 28] * 28, "0 to 255"),
        ("seven", "not a picture"),
        ([[1, 2], [3]], "not a picture"),
        ([1, 2, 3], "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        ([[float("nan")] * 28] * 28, "0 to 255"),
    ],
    ids=["text", "truncated", "scaled", "too bright", "word", "ragged", "short", "two channels", "nan"],
)
def test_what_is_no_picture_is_refused_with_a_reason(row: object, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Image(28, 28, 1)([row])
    assert says in str(caught.value)


def test_a_picture_that_would_unfold_into_gigabytes_is_refused() -> None:
    buffer = io.BytesIO()
    Pillow.new("1", (8000, 8000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 20_000
    with pytest.raises(InvalidInput, match="8000 × 8000"):
        Image(28, 28, 1)([buffer.getvalue()])


def test_numbers_take_nested_and_flat_rows() -> None:
    step = Numbers("float32", (2, 2))
    assert np.array_equal(step([[[1, 2], [3, 4]]]), step([[1, 2, 3, 4]]))
    assert step([[1, 2, 3, 4]]).dtype == np.float32
    assert Numbers("int64")([1, 2]).shape == (2,)
    assert Numbers("float32", (-1, 2))([[[1, 2]] * 5]).shape == (1, 5, 2)
    assert Numbers("string")(["a", b"b"]).tolist() == [b"a", b"b"]


def test_numbers_take_columns_by_name() -> None:
    step = Numbers("float32", (3, 2), ("warm", "wet"))
    named = {"wet": [4, 5, 6], "other": ["x"], "warm": [1, 2, 3]}
    assert step([named, [[1, 4], [2, 5], [3, 6]]]).tolist() == [[[1, 4], [2, 5], [3, 6]]] * 2
    assert Numbers("float32", (2,), ("warm", "wet"))([{"wet": 2, "warm": 1}]).tolist() == [[1, 2]]
    with pytest.raises(InvalidInput, match="the row has no 'wet'; expected an object with the columns 'warm', 'wet'"):
        step([{"warm": [1, 2, 3]}])
    with pytest.raises(InvalidInput, match="the rows differ in shape"):
        step([{"warm": [1, 2, 3], "wet": [4, 5]}])
    plain = msgspec.json.encode(Numbers("float32", (2,)))
    assert b"columns" not in plain  # bundles without names of columns are as they were


@pytest.mark.parametrize(
    ("step", "rows"),
    [
        (Numbers("float32", (2,)), [[1, 2, 3]]),
        (Numbers("float32", (2,)), [["a", "b"]]),
        (Numbers("float32", (2,)), [[1, 2], [1]]),
        (Numbers("int32"), [1.5]),
        (Numbers("int8"), [300]),
        (Numbers("int32"), [float("nan")]),
        (Numbers("float32", (-1, 2)), [[1, 2]]),
        (Numbers("string"), [1]),
    ],
)
def test_numbers_refuse_other_shapes_kinds_and_ranges(step: Numbers, rows: list[object]) -> None:
    with pytest.raises(InvalidInput):
        step(rows)


def test_labels_come_likeliest_first() -> None:
    assert TopLabels(("a", "b", "c"), k=2)(np.array([[0.1, 0.7, 0.2]])) == [[Label("b", 0.7), Label("c", 0.2)]]
    either = BinaryLabel(("no", "yes"))(np.array([[0.25]], np.float32))[0]
    assert either == [Label("no", 0.75), Label("yes", 0.25)]


def test_pixels_are_rounded_and_clipped() -> None:
    assert Pixels()(np.array([-1, 0, 0.5, 1, 2])).tolist() == [0, 0, 128, 255, 255]
    assert Pixels(low=-1)(np.array([-1.0, 1.0])).tolist() == [0, 255]


def test_scale_is_exact_in_float32() -> None:
    assert Scale(1 / 255)(np.array([255], np.uint8)).dtype == np.float32
    assert Scale(2.0, -1.0)(np.array([0, 1])).tolist() == [-1, 1]


def test_every_step_survives_json() -> None:
    steps: list[Step] = [Numbers("float32", (2,)), Image(2, 2), Scale(0.5), Pad(3), TopLabels(("a",)), Pixels()]
    assert (
        msgspec.json.decode(msgspec.json.encode(steps), type=list[Numbers | Image | Scale | Pad | TopLabels | Pixels])
        == steps
    )


def test_words_without_start_leave_unknown_words_out() -> None:
    words = Words(Vocabulary("words", ["<padding>", "the", "film"]), start=None, unknown=None)
    assert words(["The bad film"])[0].tolist() == [1, 2]
    assert words([[1, 7, 2]])[0].tolist() == [1, 2]


def test_reversing_comes_before_padding() -> None:
    assert Pad(4)(Reverse()([[1, 2, 3], [1, 2, 3, 4, 5]])).tolist() == [[0, 3, 2, 1], [4, 3, 2, 1]]


def test_multi_hot_marks_each_id_once() -> None:
    assert MultiHot(5)([[1, 3, 3], []]).tolist() == [[0, 1, 0, 1, 0], [0] * 5]


def test_n_grams_keep_the_words_and_join_their_neighbours() -> None:
    assert NGrams(2)(["The cat sat."]) == ["the cat sat the·cat cat·sat"]
    vocabulary = Vocabulary("words", ["<padding>", "cat·sat"])
    assert Words(vocabulary, start=None, unknown=None)(NGrams(2)(["the cat sat"]))[0].tolist() == [1]


def test_hashed_words_are_the_same_everywhere() -> None:
    first, second = Hashed(1000)(["The cat the", "cat"])
    assert first[0] == first[2] != first[1] == second[0]
    assert first.tolist() == [1 + zlib.crc32(word) % 999 for word in (b"the", b"cat", b"the")]
    assert all(0 < index < 10 for index in Hashed(10)([" ".join(map(str, range(200)))])[0])


def test_standardise_uses_the_figures_it_was_given() -> None:
    assert Standardise((1.0, 10.0), (2.0, 5.0))([[3, 10], [1, 0]]).tolist() == [[1, 0], [0, -2]]


def test_imagenet_means_put_blue_first() -> None:
    out = ImageNetMeans()(np.array([[[[10, 20, 30]]]], np.uint8))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)


def test_each_label_names_all_of_them() -> None:
    (row,) = MultiLabel(("a", "b", "c"))(np.array([[0.2, 0.9, 0.8]]))
    assert [(label.label, label.score) for label in row] == [("b", 0.9), ("c", 0.8), ("a", 0.2)]


def test_reshape_flattens_a_row() -> None:
    assert Reshape((4,))(np.arange(8).reshape(2, 2, 2)).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_softmax_gives_probabilities_of_scores_of_any_size() -> None:
    out = Softmax()(np.array([[0.0, np.log(3)], [-2000, 2000], [5, 5]], np.float64))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[0.25, 0.75], [0, 1], [0.5, 0.5]], rtol=1e-6)


def test_channels_first_moves_them_and_nothing_else() -> None:
    pictures = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    moved = ChannelsFirst()(pictures)
    assert moved.shape == (2, 3, 4, 5)
    assert moved.flags.c_contiguous
    assert moved[1, 2, 3, 4] == pictures[1, 3, 4, 2]


RAGGED = [[[1, [2]]], [[[1], [2, 3]]], [["a", ["b"], None]], [[[], [1]]], [{"a": 1}, [[1], 2]], [[[[[1]], 2], "x"]]]


@pytest.mark.parametrize("rows", RAGGED)
@pytest.mark.parametrize(
    "step",
    [
        Words(Vocabulary("words", ("<padding>", "<start>", "<unknown>", "<unused>", "good"))),
        Numbers("string", (2,)),
        Numbers("float32", (2,)),
        Image(4, 4),
        Characters(Vocabulary("characters", "ab")),
    ],
)
def test_lists_within_lists_of_other_lengths_are_refused(step: Any, rows: list[Any]) -> None:
    with pytest.raises(InvalidInput):
        step(rows)

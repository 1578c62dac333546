"""Filters: gradient ascent finds the picture that activates each filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput, NotFound
from tests.trainers.inspect.small import GREY, SIZE


def test_filters_climb_to_what_they_answer_to(model: Any) -> None:
    from trainers.inspect.filters import filter_patterns, pattern_sheet

    patterns = filter_patterns(model, "look", GREY, rng=np.random.default_rng(0), steps=30)
    assert patterns.activations.shape == (31, 2)
    assert (np.diff(patterns.activations, axis=0) > 0).all()
    # Grey level 138 on average, and 30 steps of 1 towards bright or dark: a share of 30/255 each.
    np.testing.assert_allclose(np.abs(np.diff(patterns.activations[[0, -1]], axis=0)), 30 / 255, rtol=0.15)
    assert patterns.pixels.shape == (2, SIZE, SIZE, 1)
    assert patterns.pixels.dtype == np.uint8
    assert pattern_sheet(patterns.pixels).shape[1] % 8 == 0
    again = filter_patterns(model, "base/look", GREY, rng=np.random.default_rng(0), steps=30)
    np.testing.assert_array_equal(patterns.pixels, again.pixels)


def test_a_filter_that_never_answers_is_black() -> None:
    import keras

    from trainers.inspect.filters import filter_patterns

    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(20, 3, activation="relu", name="c")])
    kernel = np.ones((3, 3, 1, 20), np.float32)
    kernel[..., 18] = -1
    model.set_weights([kernel, np.zeros(20, np.float32)])
    patterns = filter_patterns(model, "c", GREY, rng=np.random.default_rng(0), steps=2, size=9)
    assert patterns.pixels.shape == (20, 9, 9, 1)  # the size that was asked for, as the model takes any
    assert [bool(picture.any()) for picture in patterns.pixels] == [number != 18 for number in range(20)]


def test_filters_of_what_is_no_map_or_no_layer(model: Any) -> None:
    from trainers.inspect.filters import filter_patterns

    with pytest.raises(InvalidInput, match=r"output of layer 'mean' is \[2\]"):
        filter_patterns(model, "mean", GREY, rng=np.random.default_rng(0))
    with pytest.raises(NotFound, match="Did you mean base/look"):
        filter_patterns(model, "lok", GREY, rng=np.random.default_rng(0))

"""Activations: what each layer gives, also inside a model, and the sheet that shows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.trainers.inspect.small import seen


def test_activations_are_the_outputs_of_each_layer_also_inside_a_model(model: Any, photo: np.ndarray) -> None:
    import keras

    from trainers.inspect.activations import activations

    found = activations(model, seen(photo))
    assert list(found) == ["base/look", "base/pool", "mix", "mean", "classes"]
    base = model.get_layer("base")
    parts = {f"base/{name}": keras.Model(base.inputs, base.get_layer(name).output) for name in ("look", "pool")}
    parts |= {name: keras.Model(model.inputs, model.get_layer(name).output) for name in ("mix", "mean", "classes")}
    for name, part in parts.items():
        np.testing.assert_allclose(found[name], part.predict_on_batch(seen(photo)), rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_called_twice_is_seen_twice() -> None:
    import keras

    from trainers.inspect.activations import activations

    x = keras.Input((3,))
    double = keras.layers.Rescaling(2.0, name="double")
    found = activations(keras.Model(x, double(double(x))), np.ones((1, 3), np.float32))
    assert {name: array[0, 0] for name, array in found.items()} == {"double": 2, "double:2": 4}


def test_a_sheet_has_sixteen_channels_a_row_and_blank_ones_are_black() -> None:
    from bookserve.generation.explain import activation_sheet

    maps = np.random.default_rng(0).uniform(size=(1, 29, 29, 20))
    maps[..., 1] = 0.7
    picture = activation_sheet(maps)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * 60, 16 * 60, 3)  # enlarged twice, with a margin around each
    assert not picture[:60, 60:120].any()
    assert picture[:60, :60].any()
    np.testing.assert_array_equal(
        activation_sheet(maps * 1000 + 5)[:60, :60], picture[:60, :60]
    )  # each channel on its own scale
    assert activation_sheet(np.arange(10.0)[None]).ndim == 3

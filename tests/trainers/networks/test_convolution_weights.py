"""Weights are read from every layout of HDF5 that Keras has written, and a file of another network is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from bookserve.errors import Failed
from trainers.networks.convolution_weights import load_convolutions

PICTURE = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)


def network(seed: int, *names: str) -> keras.Model:
    """Eleven convolutions, since the order of names that end in 2 and 10 is not that of the alphabet."""
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((8, 8, 3))
    for number in range(11):
        name = names[number] if names else f"block{number}_conv"
        x = keras.layers.Conv2D(4, 3, padding="same", name=name, bias_initializer="uniform")(x)
    return keras.Model(image, x, name="eleven")


def same(first: keras.Model, second: keras.Model) -> bool:
    return np.array_equal(first(PICTURE), second(PICTURE))


def write_keras_2(path: Path, model: keras.Model, *, whole: bool, names: list[str] | None = None) -> None:
    """A file as Keras 2 wrote it; ``whole``: of the model, else of its weights. Layers are in reverse order."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        layers = model.layers[1:]
        known = names or [layer.name for layer in layers]
        root.attrs["layer_names"] = [name.encode() for name in known]
        for layer, name in reversed(list(zip(layers, known, strict=True))):
            group = root.create_group(name)
            group.attrs["weight_names"] = [b"a/bias:0", b"a/kernel:0"]
            group["a/bias:0"], group["a/kernel:0"] = np.asarray(layer.bias), np.asarray(layer.kernel)


@pytest.mark.parametrize("whole", [False, True])
def test_files_of_keras_2_are_read_by_name_or_by_order(whole: bool, tmp_path: Path) -> None:
    written = network(1)
    write_keras_2(tmp_path / "named.h5", written, whole=whole)
    write_keras_2(tmp_path / "other.h5", written, whole=whole, names=[f"conv{n}" for n in range(11)])
    for name in ("named.h5", "other.h5"):
        model = network(2)
        assert not same(model, written)
        load_convolutions(model, tmp_path / name)
        assert same(model, written)


def test_names_decide_before_the_order(tmp_path: Path) -> None:
    written = network(1)
    layers = [layer.name for layer in written.layers[1:]]
    swapped = [*layers[:5], layers[6], layers[5], *layers[7:]]
    write_keras_2(tmp_path / "swapped.h5", written, whole=False, names=swapped)
    model = network(2)
    load_convolutions(model, tmp_path / "swapped.h5")
    assert np.array_equal(model.layers[7].kernel, written.layers[6].kernel)
    assert np.array_equal(model.layers[6].kernel, written.layers[7].kernel)


def test_files_of_keras_3_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    written = network(1)
    written.save_weights(tmp_path / "eleven.weights.h5")
    written.save(tmp_path / "eleven.h5")
    for name in ("eleven.weights.h5", "eleven.h5"):
        model = network(2, *(f"other{n}" for n in range(11)))
        load_convolutions(model, tmp_path / name)
        assert same(model, written)


def test_another_network_and_what_is_no_hdf5_are_refused(tmp_path: Path) -> None:
    model = network(1)
    before = model.get_weights()
    shorter = keras.Model(model.input, model.layers[-2].output)
    shorter.save_weights(tmp_path / "ten.weights.h5")
    with pytest.raises(Failed, match="eleven without top: it has 10 convolutions; expected 11"):
        load_convolutions(model, tmp_path / "ten.weights.h5")
    with h5py.File(tmp_path / "theano.h5", "w") as file:
        for number in range(11):
            file[f"conv{number}/kernel"] = np.zeros((4, 3, 3, 3))
            file[f"conv{number}/bias"] = np.zeros(4)
    with pytest.raises(Failed, match=r"convolution 1 has the kernel \[4, 3, 3, 3\]; expected \[3, 3, 3, 4\]"):
        load_convolutions(model, tmp_path / "theano.h5")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(Failed, match="cannot be read as HDF5"):
        load_convolutions(model, tmp_path / "text.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

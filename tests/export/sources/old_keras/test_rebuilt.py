"""Test that files of Keras 1 and 2 give the answers of the version that wrote them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from bookserve.bundle import Bundle
from bookserve.client import connect
from bookserve.errors import Failed, InvalidInput
from export.sources.old_keras.rebuilt import check_file, open_rebuilt
from export.sources.source import find_source

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

MAKER = Path(__file__).parents[4] / "bench" / "importing" / "keras2_files.py"


@pytest.fixture(scope="module")
def tf_keras(tensorflow) -> Any:
    import tf_keras

    return tf_keras


@pytest.fixture(scope="module")
def maker(tf_keras) -> ModuleType:
    """The script that writes files with their answers, on the Keras 2 that is installed here."""
    spec = importlib.util.spec_from_file_location("keras2_files", MAKER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.KERAS, module.VERSION = tf_keras, (2, 21)  # type: ignore[attr-defined]
    return module


@pytest.fixture
def export(models: Path):
    def export(path: Path, **settings: Any) -> Bundle:
        from export.write import write_bundle

        return write_bundle(find_source(str(path), path.parent, **settings), models).bundle

    return export


def largest_difference(bundle: Bundle, answers: Path) -> float:
    from bench.importing.table import answers_of, compare

    return max(compare(found, answers) for found in answers_of(bundle, answers))


@pytest.mark.parametrize(("name", "ending"), [("gru_reset_before", ".keras"), ("two_inputs", ".h5")])
def test_a_file_of_keras_2_answers_as_keras_2_did(maker, export, tmp_path: Path, name: str, ending: str) -> None:
    maker.write(str(tmp_path), name, maker.MODELS[name])
    bundle = export(tmp_path / f"{name}{ending}")
    assert largest_difference(bundle, tmp_path / f"{name}.npz") < 1e-4
    assert bundle.manifest.maker["keras"].startswith("2.")
    assert bundle.graph()[1].onnx == "model.onnx"


def test_an_architecture_with_its_weights_answers_the_same(maker, export, tmp_path: Path, models: Path) -> None:
    maker.write(str(tmp_path), "dense", maker.MODELS["dense"])
    made = maker.KERAS.models.load_model(tmp_path / "dense.h5")
    made.save_weights(tmp_path / "only.h5")
    bundle = export(tmp_path / "dense.json", weights=tmp_path / "only.h5")
    assert largest_difference(bundle, tmp_path / "dense.npz") < 1e-4
    with connect(f"local:{models}") as client:
        assert len(client.predict("dense", np.ones((2, 5), np.float32))) == 2


def keras_1(path: Path, layers: list[dict[str, Any]], weights: dict[str, list[np.ndarray]]) -> Path:
    """Write an HDF5 file as Keras 1.2 does: no backend, and weights under their own names."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"1.2.2"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers}).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([layer["config"]["name"].encode() for layer in layers])
        for layer in layers:
            name = layer["config"]["name"]
            values = weights.get(name, [])
            inner = group.create_group(name)
            inner.attrs["weight_names"] = np.array([f"{name}_{i}".encode() for i in range(len(values))])
            for number, value in enumerate(values):
                inner[f"{name}_{number}"] = value
    return path


def test_a_channels_first_network_of_keras_1_gets_its_old_layouts(tf_keras, tmp_path: Path) -> None:
    """Kernels of shape (filters, channels, rows, columns); the pooled picture is flattened channels first."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(4, 2, 3, 3)).astype("f4")
    dense = random.normal(size=(4 * 3 * 3, 2)).astype("f4")
    path = keras_1(
        tmp_path / "net.h5",
        [
            {
                "class_name": "Convolution2D",
                "config": {
                    "name": "conv",
                    "batch_input_shape": [None, 2, 8, 8],
                    "input_dtype": "float32",
                    "nb_filter": 4,
                    "nb_row": 3,
                    "nb_col": 3,
                    "init": "glorot_uniform",
                    "activation": "relu",
                    "border_mode": "valid",
                    "subsample": [1, 1],
                    "dim_ordering": "th",
                    "W_regularizer": None,
                    "bias": True,
                },
            },
            {
                "class_name": "MaxPooling2D",
                "config": {
                    "name": "pool",
                    "pool_size": [2, 2],
                    "strides": [2, 2],
                    "border_mode": "valid",
                    "dim_ordering": "th",
                },
            },
            {"class_name": "Flatten", "config": {"name": "flat"}},
            {"class_name": "Dense", "config": {"name": "dense", "output_dim": 2, "activation": "linear"}},
        ],
        {"conv": [kernel, np.zeros(4, "f4")], "dense": [dense, np.zeros(2, "f4")]},
    )
    rows = random.normal(size=(3, 2, 8, 8)).astype("f4")
    windows = np.lib.stride_tricks.sliding_window_view(rows, (3, 3), axis=(2, 3))
    convolved = np.maximum(np.einsum("ncijrs,fcrs->nfij", windows, kernel), 0)
    pooled = convolved.reshape(3, 4, 3, 2, 3, 2).max((3, 5))
    wanted = pooled.reshape(3, -1) @ dense

    plan = check_file(path)
    assert any("Theano" in note for note in plan.notes)
    with open_rebuilt(plan) as model:
        assert np.abs(model.run({"input": rows})["dense"] - wanted).max() < 1e-3


def test_gates_of_keras_1_are_put_in_the_order_of_keras_2(tf_keras, tmp_path: Path) -> None:
    """Twelve arrays by gate (i, c, f, o) become three (i, f, c, o), with Keras's old hard sigmoid."""
    random = np.random.default_rng(1)
    gates = {gate: [random.normal(size=s).astype("f4") for s in ((3, 4), (4, 4), (4,))] for gate in "icfo"}
    path = keras_1(
        tmp_path / "net.h5",
        [
            {
                "class_name": "LSTM",
                "config": {
                    "name": "lstm",
                    "batch_input_shape": [None, 5, 3],
                    "output_dim": 4,
                    "inner_activation": "hard_sigmoid",
                    "activation": "tanh",
                    "return_sequences": False,
                    "consume_less": "cpu",
                    "dropout_W": 0.2,
                },
            }
        ],
        {"lstm": [array for gate in "icfo" for array in gates[gate]]},
    )
    rows = random.normal(size=(2, 5, 3)).astype("f4")
    state, cell = np.zeros((2, 4)), np.zeros((2, 4))
    for time in range(5):
        z = {gate: rows[:, time] @ w + state @ u + b for gate, (w, u, b) in gates.items()}
        i, f, o = (np.clip(0.2 * z[gate] + 0.5, 0, 1) for gate in "ifo")
        cell = f * cell + i * np.tanh(z["c"])
        state = o * np.tanh(cell)

    with open_rebuilt(check_file(path)) as model:
        assert np.abs(model.run({"input": rows})["lstm"] - state).max() < 1e-4


def test_the_reason_is_the_innermost_and_names_the_users_file(tf_keras, tmp_path: Path) -> None:
    path = keras_1(
        tmp_path / "net.h5",
        [{"class_name": "Dense", "config": {"name": "dense", "batch_input_shape": [None, 3], "output_dim": 2}}],
        {"dense": [np.zeros((4, 2), "f4"), np.zeros(2, "f4")]},
    )
    with pytest.raises(InvalidInput, match=r"shape") as error, open_rebuilt(check_file(path)):
        pass
    assert f"Keras cannot load {path} (written by Keras 1.2.2)" in error.value.message
    assert "bookserve-" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process has one model")
def test_a_model_whose_process_is_killed_is_an_error_and_the_next_one_loads(tf_keras, tmp_path: Path) -> None:
    path = keras_1(
        tmp_path / "net.h5",
        [{"class_name": "Dense", "config": {"name": "dense", "batch_input_shape": [None, 3], "output_dim": 2}}],
        {"dense": [np.ones((3, 2), "f4"), np.zeros(2, "f4")]},
    )
    with open_rebuilt(check_file(path)) as model:
        process: int = model._process.pid  # type: ignore[attr-defined]
        copy = Path(f"/proc/{process}/task/{process}/children").read_text().split()[0]
        os.kill(int(copy), signal.SIGKILL)
        with pytest.raises(Failed, match=rf"{path} ended with exit code -9"):
            model.save(tmp_path / "saved")
    with open_rebuilt(check_file(path)) as model:
        assert model._process.pid == process  # type: ignore[attr-defined]
        assert model.names == {"inputs": ["input"], "outputs": ["dense"]}


def test_an_hdf5_file_of_keras_3_is_rebuilt_by_keras_3(tf_keras, export, tmp_path: Path) -> None:
    import keras

    x = keras.Input((4,))
    y = keras.layers.Reshape((3, 2))(keras.layers.Dense(6, activation="hard_sigmoid")(x))
    model = keras.Model(x, keras.layers.Attention()([y, y]))  # Keras itself fails to read its score_mode "dot"
    model.save(tmp_path / "net.h5")
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
    np.savez(tmp_path / "net.npz", x0=rows, y0=model(rows))
    bundle = export(tmp_path / "net.h5")
    assert largest_difference(bundle, tmp_path / "net.npz") < 1e-4
    assert bundle.manifest.maker["keras"].startswith("3.")

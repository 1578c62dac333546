"""Devices: they change how long a training takes, not what its run contains."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bookserve.errors import InvalidInput
from bookserve.run import list_runs
from tests.trainers.commands import bookserve, figures, trained, weights
from tests.trainers.tiny_task import TINY
from trainers import catalogue, training
from trainers.artifacts import signatures
from trainers.engine import devices
from trainers.engine.devices import Devices, select_devices


@pytest.mark.parametrize(
    ("device", "gpus", "every", "chosen"),
    [
        ("auto", 0, False, ["cpu"]),
        ("auto", 2, False, ["gpu:0"]),
        ("auto", 2, True, ["gpu:0", "gpu:1"]),
        ("gpu", 2, False, ["gpu:0"]),
        ("gpu:1", 2, True, ["gpu:1"]),
        ("cuda", 2, True, ["gpu:0", "gpu:1"]),
        ("cuda:1", 2, False, ["gpu:1"]),
        ("cpu", 2, True, ["cpu"]),
    ],
)
def test_a_name_chooses_devices(device: str, gpus: int, every: bool, chosen: list[str]) -> None:
    assert select_devices(device, gpus, every=every) == chosen


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu:2", "this machine has no gpu:2. Keras's tensorflow backend finds: cpu, gpu:0, gpu:1."),
        ("tpu", "'tpu' is not a device"),
        ("gpu:x", "'gpu:x' is not a device"),
        ("", "'' is not a device"),
    ],
)
def test_the_error_for_a_missing_device_lists_the_devices_there_are(device: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        select_devices(device, 2)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("--distribute", "multiworker"), {}, "Give --workers 2 to start two processes on this machine"),
        (("--device", "gpu:9"), {"KERAS_BACKEND": "jax"}, "Keras's jax backend finds: cpu"),
        (("--distribute", "mirrored", "--workers", "40", "-p", "batch_size=32"), {}, "40 replicas"),
    ],
)
def test_an_error_is_a_sentence_and_leaves_no_run(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    done = bookserve("train", "mnist_dense", "--data", "sample", *words, "--runs", str(tmp_path), **environment)
    assert done.returncode == 5, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(list_runs(tmp_path))


def test_deterministic_runs_are_equal_bit_by_bit(tmp_path: Path) -> None:
    words = ("mnist_convnet", "--data", "sample", "--epochs", "1", "--deterministic")
    first, second = (trained(tmp_path / name, *words) for name in ("first", "second"))
    assert figures(first) == figures(second)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert first.read("environment.json")["deterministic"]


@pytest.mark.parametrize("given", [Devices(precision="mixed_bfloat16"), Devices(strategy=tf.distribute.get_strategy())])
def test_a_training_step_of_its_own_runs_on_one_device_in_float32(given: Devices, tmp_path: Path) -> None:
    task = catalogue.find_task("cifar10_gan")
    params = {**task.defaults("sample"), "width": 0.0625}
    with pytest.raises(InvalidInput, match="has its own training step"):
        training.start_training(task, "sample", params, seed=0, runs=tmp_path, report=lambda line: None, devices=given)
    assert not list(list_runs(tmp_path))


def test_a_recurrent_layer_trained_by_cudnn_is_exported_without(tmp_path: Path) -> None:
    inputs = keras.Input((5, 3), name="x")
    lstm = keras.layers.LSTM(4)
    outputs = lstm(inputs)
    lstm.use_cudnn = True  # what only a GPU could compute
    model = keras.Model({"x": inputs}, {"y": outputs})
    with pytest.raises(ValueError, match="cuDNN is not supported"):
        model({"x": np.zeros((1, 5, 3), np.float32)})
    signatures.write_saved_model(tmp_path / "saved_model", {"serving_default": model})
    signature = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    assert signature(x=tf.zeros((2, 5, 3)))["y"].shape == (2, 4)


def test_devices_are_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that has computed already, the same devices are accepted and others refused."""
    keras.ops.zeros(1)
    params = TINY.defaults("sample")
    assert devices.open_devices(params) == Devices(names=devices.open_devices(params).names)
    with pytest.raises(InvalidInput, match="uses other devices already"):
        devices.open_devices({**params, "device": "cpu", "distribute": "mirrored", "workers": 2})
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InvalidInput, match="KERAS_BACKEND is 'torch'"):
        devices.open_devices(params)

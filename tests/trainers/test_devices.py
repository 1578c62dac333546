"""Devices: what trains a model changes how long it takes, not what a run holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from bookserve import run as runs_
from bookserve.errors import InvalidInput
from bookserve.run import Run
from tests.trainers.test_loop import TINY
from trainers import catalogue, cluster, devices, signatures, training
from trainers.devices import Devices, chosen_devices

#: 600 rows in batches of 64: the last batch of an epoch has 24, and of three replicas one has fewer rows than others.
DENSE = ("mnist_dense", "--data", "sample", "--epochs", "3", "-p", "batch_size=64")

TWO = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


def bookserve(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bookserve", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def trained(runs: Path, *words: str, **environment: str) -> Run:
    done = bookserve("train", *words, "--runs", str(runs), **environment)
    assert done.returncode == 0, done.stderr
    (run,) = runs_.scan(runs)
    return run


def figures(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.metrics.items() if name not in ("seconds", "book")}


def weights(run: Run) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in keras.models.load_model(run.path / "model.keras").get_weights()]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained in one process, on one device."""
    return trained(tmp_path_factory.mktemp("one"), *DENSE, "--device", "cpu")


def test_the_environment_names_what_trained(one: Run) -> None:
    environment = one.read("environment.json")
    assert environment["backend"] == "tensorflow"
    assert (environment["devices"], environment["precision"]) == (["cpu"], "float32")
    assert (environment["strategy"], environment["replicas"], environment["deterministic"]) == (None, 1, False)
    assert "-p device=cpu" in environment["command"]


@pytest.mark.parametrize(
    ("device", "gpus", "every", "chosen"),
    [
        ("auto", 0, False, ["cpu"]),
        ("auto", 2, False, ["gpu:0"]),
        ("auto", 2, True, ["gpu:0", "gpu:1"]),
        ("gpu", 2, False, ["gpu:0"]),
        ("gpu:1", 2, True, ["gpu:1"]),
        ("cpu", 2, True, ["cpu"]),
    ],
)
def test_a_name_chooses_devices(device: str, gpus: int, every: bool, chosen: list[str]) -> None:
    assert chosen_devices(device, gpus, every=every) == chosen


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu:2", "there is no gpu:2 here. Keras's tensorflow backend finds: cpu, gpu:0, gpu:1."),
        ("tpu", "'tpu' is no device"),
        ("gpu:x", "'gpu:x' is no device"),
        ("", "'' is no device"),
    ],
)
def test_a_device_that_is_not_there_is_told_with_those_that_are(device: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        chosen_devices(device, 2)


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ({"workers": 2}, "", "workers belong to --distribute"),
        ({"distribute": "multiworker"}, '{"cluster": {}}', "TF_CONFIG cannot be used: KeyError 'task'"),
        (
            {"distribute": "multiworker"},
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "TF_",
        ),
        ({"distribute": "multiworker", "workers": 3}, json.dumps(TWO), "names 2 workers, but --workers is 3"),
        ({"distribute": "mirrored", "device": "cpu"}, "", "--device cpu --workers 2 divides the CPU"),
    ],
)
def test_what_does_not_go_together_is_told(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], config: str, said: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InvalidInput, match=said):
        devices.open_devices({**TINY.defaults("sample"), **given})


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("--distribute", "multiworker"), {}, "Give --workers 2 to start two on this machine"),
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
    assert not list(runs_.scan(tmp_path))


@pytest.mark.parametrize("kind", ["mirrored", "multiworker"])
def test_replicas_give_the_losses_of_one(one: Run, tmp_path: Path, kind: str) -> None:
    """Also with shares of different sizes, and the same rows in the same order."""
    count = 3 if kind == "mirrored" else 2
    run = trained(tmp_path, *DENSE, "--device", "cpu", "--distribute", kind, "--workers", str(count))
    assert figures(run).keys() == figures(one).keys()
    for name, value in figures(one).items():
        assert run.metrics[name] == pytest.approx(value, rel=1e-4), name
    for ours, theirs in zip(weights(run), weights(one), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    environment = run.read("environment.json")
    assert environment["replicas"] == count
    assert environment["strategy"] == {"mirrored": "MirroredStrategy"}.get(kind, "CollectiveAllReduceStrategy")
    assert set(tf.saved_model.load(str(run.path / "saved_model")).signatures) == {"serving_default"}


def killed_after_an_epoch(runs: Path, *words: str) -> Run:
    """Kill the command and all that it started, between its first epoch and its last."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bookserve", "train", *words, "--runs", str(runs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    with process:
        next(line for line in process.stdout if line.startswith("epoch 1/"))
        os.killpg(process.pid, signal.SIGKILL)
    (run,) = runs_.scan(runs)
    assert (run.path / "checkpoint" / "epoch.npz").exists()
    assert not run.finished
    return run


def test_a_killed_training_of_two_workers_is_continued(tmp_path: Path) -> None:
    words = ("mnist_dense", "--data", "sample", "--epochs", "12", "--distribute", "multiworker", "--workers", "2")
    whole = trained(tmp_path / "whole", *words)
    killed = killed_after_an_epoch(tmp_path / "killed", *words)
    resumed = trained(tmp_path / "killed", "mnist_dense", "--resume")
    assert resumed.path == killed.path
    assert resumed.metrics["epochs"] == 12
    for name, value in figures(whole).items():
        assert resumed.metrics[name] == pytest.approx(value, rel=1e-4), name


def test_a_killed_training_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """SIGKILL in the midst of an epoch: nothing could be tidied up."""
    words = ("mnist_dense", "--data", "sample", "--epochs", "12", "-p", "batch_size=8")
    whole = trained(tmp_path / "whole", *words)
    killed = killed_after_an_epoch(tmp_path / "killed", *words)
    resumed = trained(tmp_path / "killed", "mnist_dense", "--resume")
    assert resumed.path == killed.path
    assert figures(resumed) == figures(whole)
    assert (resumed.path / "history.csv").read_text() == (whole.path / "history.csv").read_text()


def test_a_worker_that_dies_ends_the_training(tmp_path: Path) -> None:
    """The second worker cannot read what it is given: the first must not wait for it for ever."""
    code = "import os, sys, time\nsys.exit(7) if '\"index\": 1' in os.environ['TF_CONFIG'] else time.sleep(600)\n"
    (tmp_path / "bookserve.py").write_text(code)
    script = (
        "from trainers import cluster\n"
        "import os\n"
        f"cluster._GRACE = 0.5; os.chdir({str(tmp_path)!r})\n"  # where a bookserve of ours lies
        "cluster.start(['train'], 2)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "the workers ended with [-15, 7]" in done.stderr


@pytest.mark.parametrize(
    ("config", "index", "count"),
    [
        (TWO, 1, 2),
        ({"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}, 2, 3),
        ({"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}, 0, 2),
    ],
)
def test_tf_config_says_which_worker_this_is(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], index: int, count: int
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    place = cluster.place()
    assert (place.index, place.count, place.chief) == (index, count, index == 0)


def test_workers_on_one_machine_share_its_gpus() -> None:
    gpus = ["gpu:0", "gpu:1", "gpu:2"]
    assert cluster.Place(("h:1", "h:2"), 0).share(gpus) == ["gpu:0", "gpu:2"]
    assert cluster.Place(("h:1", "h:2"), 1).share(gpus) == ["gpu:1"]
    assert cluster.Place(("h:1", "i:1"), 1).share(gpus) == gpus
    with pytest.raises(InvalidInput, match="4 workers cannot share gpu:0"):
        cluster.Place(("h:1", "h:2", "h:3", "h:4"), 3).share(gpus)


def test_deterministic_runs_are_equal_bit_by_bit(tmp_path: Path) -> None:
    words = ("mnist_convnet", "--data", "sample", "--epochs", "1", "--deterministic")
    first, second = (trained(tmp_path / name, *words) for name in ("first", "second"))
    assert figures(first) == figures(second)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert first.read("environment.json")["deterministic"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_was_trained_in_half_precision_is_saved_in_float32(tmp_path: Path, policy: str) -> None:
    params = {**TINY.defaults("sample"), "epochs": 2}
    seen = []

    def say(line: str) -> None:
        seen.append(line)
        if line.startswith("epoch 1/") and stop:
            raise KeyboardInterrupt

    half, stop = Devices(precision=policy), False
    run = training.begin(TINY, "sample", params, seed=3, runs=tmp_path / "whole", say=say, devices=half)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        training.begin(TINY, "sample", params, seed=3, runs=tmp_path / "cut", say=say, devices=half)
    stop = False
    resumed = training.resume(TINY, tmp_path / "cut", say=say, devices=half)
    assert figures(resumed) == figures(run)  # the scale of the loss goes on too
    model = keras.models.load_model(run.path / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    signature = tf.saved_model.load(str(run.path / "saved_model")).signatures["serving_default"]
    assert not {"half", "bfloat16", "float16"} & {tensor.dtype.name for tensor in _tensors(signature)}
    assert run.read("environment.json")["precision"] == policy


def _tensors(signature: Any) -> list[Any]:
    functions = [signature.graph, *(function.graph for function in signature.graph._functions.values())]
    return [tensor for graph in functions for op in graph.get_operations() for tensor in op.outputs]


def test_half_precision_computes_in_half_and_gives_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    task = catalogue.find("mnist_dense")
    params = task.defaults("sample")
    data = task.data("sample", params)
    model = Devices(precision="mixed_bfloat16").build(task, data, params)
    hidden, last = (layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    assert (hidden.compute_dtype, hidden.dtype) == ("bfloat16", "float32")
    assert last.compute_dtype == "float32"
    plain = Devices(precision="mixed_bfloat16").finished(model, task, data, params)
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("given", [Devices(precision="mixed_bfloat16"), Devices(strategy=tf.distribute.get_strategy())])
def test_a_training_step_of_its_own_runs_on_one_device_in_float32(given: Devices, tmp_path: Path) -> None:
    task = catalogue.find("cifar10_gan")
    params = {**task.defaults("sample"), "width": 0.0625}
    with pytest.raises(InvalidInput, match="training step of its own"):
        training.begin(task, "sample", params, seed=0, runs=tmp_path, say=lambda line: None, devices=given)
    assert not list(runs_.scan(tmp_path))


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
    """In a process that computes already, the same devices are no harm and others are refused."""
    keras.ops.zeros(1)
    params = TINY.defaults("sample")
    assert devices.open_devices(params) == Devices(names=devices.open_devices(params).names)
    with pytest.raises(InvalidInput, match="computes on other devices already"):
        devices.open_devices({**params, "device": "cpu", "distribute": "mirrored", "workers": 2})
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InvalidInput, match="KERAS_BACKEND is 'torch'"):
        devices.open_devices(params)

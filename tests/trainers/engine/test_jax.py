"""Keras's JAX backend: the same task files train there, and leave runs that are exported and served like any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bookserve import run as runs_
from bookserve.bundle.examples import Examples

#: What makes one epoch a matter of seconds.
SHORT = {
    "mnist_convnet": ("batch_size=128",),
    "imdb_lstm": ("batch_size=128",),
    "mnist_vae": ("batch_size=128",),
    "cifar10_gan": ("batch_size=4", "width=0.0625", "steps_per_epoch=3"),
}


def bookserve(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "bookserve", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SHORT)
def test_a_task_trains_on_jax_and_leaves_a_whole_run(name: str, tmp_path: Path) -> None:
    given = [word for value in SHORT[name] for word in ("-p", value)]
    done = bookserve("train", name, "--data", "sample", "--epochs", "1", *given, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    run = runs_.latest_run(tmp_path, name)
    environment = run.read("environment.json")
    assert (environment["backend"], environment["devices"]) == ("jax", ["cpu"])
    assert environment["versions"]["jax"]
    examples = Examples.load(run.path / "examples.npz")
    loaded = tf.saved_model.load(str(run.path / "saved_model"))
    for graph, example in examples.graphs.items():
        signature = loaded.signatures[graph]
        assert "XlaCallModule" not in {op.type for op in signature.graph.get_operations()}
        outputs = signature(**{key: tf.constant(array) for key, array in example.inputs.items()})
        for key, expected in example.outputs.items():
            np.testing.assert_allclose(outputs[key], expected, rtol=1e-3, atol=1e-4)


def test_graphs_of_gradients_need_tensorflow(tmp_path: Path) -> None:
    done = bookserve("train", "deepdream", "--data", "sample", "--runs", str(tmp_path))
    assert done.returncode == 5
    assert "Train it with KERAS_BACKEND=tensorflow." in done.stderr
    assert not list(runs_.list_runs(tmp_path))

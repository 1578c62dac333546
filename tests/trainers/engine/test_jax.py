"""Keras's JAX backend: the same task files train on it, and their runs are exported and served like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bookserve.bundle.examples import Examples
from bookserve.run import latest_run, list_runs
from tests.trainers.commands import bookserve

#: What makes one epoch a matter of seconds.
SHORT = {
    "mnist_convnet": ("batch_size=128",),
    "imdb_lstm": ("batch_size=128",),
    "mnist_vae": ("batch_size=128",),
    "cifar10_gan": ("batch_size=4", "width=0.0625", "steps_per_epoch=3"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "mnist_convnet" else pytest.mark.sweep) for name in SHORT]
)
def test_a_task_trains_on_jax_and_leaves_a_whole_run(name: str, tmp_path: Path) -> None:
    given = [word for value in SHORT[name] for word in ("-p", value)]
    words = ("train", name, "--data", "sample", "--epochs", "1", *given, "--runs", str(tmp_path))
    done = bookserve(*words, KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr
    run = latest_run(tmp_path, name)
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
    done = bookserve("train", "deepdream", "--data", "sample", "--runs", str(tmp_path), KERAS_BACKEND="jax")
    assert done.returncode == 5
    assert "needs no TensorFlow, also on a GPU: bookserve" in done.stderr
    assert not list(list_runs(tmp_path))

"""Mixed precision computes in half precision, but saves everything in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.commands import figures
from tests.trainers.tiny_task import TINY
from trainers import catalogue, training
from trainers.engine.devices import Devices


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_was_trained_in_half_precision_is_saved_in_float32(tmp_path: Path, policy: str) -> None:
    params = {**TINY.defaults("sample"), "epochs": 2}
    seen = []

    def say(line: str) -> None:
        seen.append(line)
        if line.startswith("epoch 1/") and stop:
            raise KeyboardInterrupt

    half, stop = Devices(precision=policy), False
    run = training.start_training(TINY, "sample", params, seed=3, runs=tmp_path / "whole", report=say, devices=half)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        training.start_training(TINY, "sample", params, seed=3, runs=tmp_path / "cut", report=say, devices=half)
    stop = False
    resumed = training.resume_training(TINY, tmp_path / "cut", report=say, devices=half)
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
    task = catalogue.find_task("mnist_dense")
    params = task.defaults("sample")
    data = task.data("sample", params)
    model = Devices(precision="mixed_bfloat16").build_model(task, data, params)
    hidden, last = (layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    assert (hidden.compute_dtype, hidden.dtype) == ("bfloat16", "float32")
    assert last.compute_dtype == "float32"
    plain = Devices(precision="mixed_bfloat16").to_plain_model(model, task, data, params)
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(a, b)

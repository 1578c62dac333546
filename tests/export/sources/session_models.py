"""SavedModels as TensorFlow 1 wrote them: TensorFlow Serving's well-known test models, and one like R's tfdeploy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))

#: By name: inputs and outputs of a signature, each a tensor by name, and its method.
Signatures = dict[str, tuple[dict[str, Any], dict[str, Any], str]]


def save(path: Path, build: Callable[[Any], Signatures], text: bool = False) -> Path:
    """Write the graph that ``build`` makes of ``tf.compat.v1``, in the text format if asked; return ``path``."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signatures = build(v1)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                name: v1.saved_model.build_signature_def(*(_infos(v1, side) for side in sides), method)
                for name, (*sides, method) in signatures.items()
            },
        )
        builder.save(as_text=text)
    return path


def half_plus(number: float) -> Callable[[Any], Signatures]:
    """y = x / 2 + ``number``, over numbers and over ``tf.Example``."""

    def build(v1: Any) -> Signatures:
        half, plus = (
            v1.get_variable(name, initializer=value, use_resource=False) for name, value in (("a", 0.5), ("b", number))
        )
        serialized = v1.placeholder(v1.string, name="tf_example")
        feature = v1.io.parse_example(serialized, {"x": v1.io.FixedLenFeature([1], v1.float32)})["x"]
        x = v1.identity(feature, name="x")
        y = v1.add(v1.multiply(half, x), plus, name="y")
        return {
            "serving_default": ({"x": x}, {"y": y}, PREDICT),
            "regress_x_to_y": ({"inputs": serialized}, {"outputs": y}, REGRESS),
            "classify_x_to_y": ({"inputs": serialized}, {"scores": y}, CLASSIFY),
            REGRESS: ({"inputs": serialized}, {"outputs": y}, REGRESS),
        }

    return build


def counter(v1: Any) -> Signatures:
    """A number that callers read, raise and reset."""
    count = v1.get_variable("counter", initializer=0.0, use_resource=False)
    delta = v1.placeholder(v1.float32, [], name="delta")
    return {
        "get_counter": ({}, {"output": count}, PREDICT),
        "incr_counter_by": ({"delta": delta}, {"output": count.assign_add(delta)}, PREDICT),
        "reset_counter": ({}, {"output": count.assign(0.0)}, PREDICT),
    }


def softmax_regression(v1: Any) -> Signatures:
    """``images`` [rows, 784] → ``scores`` [rows, 10], as R's tfdeploy has it among its examples."""
    images = v1.placeholder(v1.float32, [None, 784])
    rng = np.random.default_rng(1)
    weights, bias = (
        v1.get_variable(name, initializer=rng.normal(size=shape).astype(np.float32) / 28, use_resource=False)
        for name, shape in (("w", (784, 10)), ("b", (10,)))
    )
    return {
        "serving_default": ({"images": images}, {"scores": v1.nn.softmax(v1.matmul(images, weights) + bias)}, PREDICT)
    }


def running_sum(v1: Any) -> Signatures:
    """The sums of ``x`` [rows, 5, 3] after each step, tanh of each: a loop as TensorFlow 1 writes them."""
    x = v1.placeholder(v1.float32, [None, 5, 3], name="x")
    weights = v1.get_variable("w", initializer=np.eye(3, dtype=np.float32) / 2, use_resource=False)
    v1.disable_control_flow_v2()
    try:
        (_, total) = v1.while_loop(
            lambda step, _: step < 5,
            lambda step, total: (step + 1, v1.tanh(v1.matmul(total, weights) + x[:, step])),
            (0, v1.zeros_like(x[:, 0])),
        )
    finally:
        v1.enable_control_flow_v2()
    return {"serving_default": ({"x": x}, {"y": total}, PREDICT)}


def double(v1: Any) -> Signatures:
    """y = 2 x for numbers in any shape."""
    x = v1.placeholder(v1.float32, None, name="x")
    return {"serving_default": ({"x": x}, {"y": 2 * x}, PREDICT)}


def _infos(v1: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}

"""Test the ONNX form of every gradient operator, with free axes, against TensorFlow's own gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookserve.graph import Graph, TensorSpec

PICTURES = Graph(
    inputs={"image": TensorSpec("float32", ("batch", "height", "width", 4))},
    outputs={"value": TensorSpec("float32", ("batch", "height", "width", 4))},
)
#: Heights and widths: even, odd, alike and unlike, so that paddings differ.
SIZES = ((1, 12, 12), (2, 13, 16), (3, 11, 9))


def _convolutions(tf):
    """Filters [height, width, in, out] that are not symmetric."""
    rng = np.random.default_rng(0)
    return {
        (size, grouped): tf.constant(rng.normal(size=(*size, 4, 2 if grouped else 5)).astype(np.float32))
        for size in ((3, 3), (2, 4), (1, 1))
        for grouped in (False, True)
    }


def _cases(tf):
    """Functions of a picture [batch, height, width, 4] whose sum is differentiated."""
    cases = {}
    for (size, grouped), kernel in _convolutions(tf).items():
        for stride in (1, 2, 3):
            for padding in ("SAME", "VALID"):
                name = f"{'depthwise' if grouped else 'convolution'} {size} {stride} {padding}"
                operator = tf.nn.depthwise_conv2d if grouped else tf.nn.conv2d
                strides = [1, stride, stride, 1]
                cases[name] = lambda x, f=operator, k=kernel, s=strides, p=padding: f(x, k, s, p)
    for size in (2, 3):
        for stride in (1, 2):
            for padding in ("SAME", "VALID"):
                for kind, operator in (("max", tf.nn.max_pool2d), ("average", tf.nn.avg_pool2d)):
                    cases[f"{kind} {size} {stride} {padding}"] = lambda x, f=operator, k=size, s=stride, p=padding: f(
                        x, k, s, p
                    )
    kernel = _convolutions(tf)[(3, 3), False]
    cases["dilated"] = lambda x: tf.nn.conv2d(x, kernel, 1, "VALID", dilations=2)
    for name in ("relu", "relu6", "elu", "sigmoid", "tanh", "softplus", "leaky_relu"):
        cases[name] = getattr(tf.nn, name)
    cases["sqrt"] = lambda x: tf.sqrt(tf.abs(x) + 0.1)
    cases["rsqrt"] = lambda x: tf.math.rsqrt(tf.abs(x) + 0.1)
    cases["slices"] = lambda x: x[:, 1:-2, ::2] * x[:, 2:-1, ::2]
    cases["backwards"] = lambda x: x[:, ::-1, -1] * x[..., 0, :]
    cases["joined"] = lambda x: tf.concat([x[:, :-1], tf.square(x), x[:, 2:]], axis=1)
    cases["broadcast"] = lambda x: x * tf.reduce_sum(x, axis=(1, 2), keepdims=True) * x[0, 0, 0]
    cases["means"] = lambda x: tf.square(tf.reduce_mean(x, axis=(1, 3)))
    return cases


NAMES = sorted(_cases(pytest.importorskip("tensorflow")))


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_of_a_backward_pass(tensorflow, tmp_path: Path, name: str) -> None:
    """The elements are integers, so windows have equal maxima: the gradient goes to the first of them."""
    from bookserve.bundle import parity
    from tests.export import conversion

    tf, function = tensorflow, _cases(tensorflow)[name]

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 4), tf.float32, name="image")])
        def call(self, image):
            with tf.GradientTape() as tape:
                tape.watch(image)
                value = function(image)
                weights = tf.reshape(tf.range(tf.cast(tf.size(value), tf.float32)) % 7, tf.shape(value))
                total = tf.reduce_sum(value * weights)
            return {"value": tape.gradient(total, image)}

    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    _, backend = conversion.converted(PICTURES, tmp_path)
    for size in SIZES:
        image = np.random.default_rng(size[1]).integers(-3, 4, (*size, 4)).astype(np.float32)
        expected = {"value": module.call(tf.constant(image))["value"].numpy()}
        assert np.abs(expected["value"]).max() > 0.01
        assert parity.compare(expected, backend.run({"image": image})).problem == ""


@pytest.mark.parametrize("task", ["style_transfer", "deepdream"])
def test_the_networks_of_all_tasks_dream_without_tensorflow(tensorflow, tmp_path: Path, task: str) -> None:
    """The tasks' own architectures with random weights and statistics."""
    from bookserve.bundle import parity
    from bookserve.bundle.examples import Example
    from tests.export import conversion
    from trainers import catalogue
    from trainers.artifacts import signatures
    from trainers.artifacts.write import compute_examples

    found = catalogue.find_task(task)
    params = found.defaults("sample") | {"data": "sample", "seed": 0}
    data = found.data("sample", params)
    models = signatures.inference_models(found, found.build(data, params), data)
    graphs = {name: conversion.save(model, tmp_path / name, gain=0.4) for name, model in models.items()}
    shown = compute_examples(models, data).graphs
    rng = np.random.default_rng(1)
    seen: dict[str, np.ndarray] = {}
    for name in reversed(models):  # the gradient is fed what the features of a picture are
        model, graph = models[name], graphs[name]
        proto, backend = conversion.converted(graph, tmp_path / name)
        assert not {"Loop", "Scan", "If"} & conversion.operators(proto).keys()
        feeds = {key: array[:2] for key, array in shown[name].inputs.items()}
        expected = conversion.answers(model, feeds)
        assert all(np.isfinite(array).all() and np.abs(array).max() > 1e-6 for array in expected.values())
        assert parity.replay(graph, Example(feeds, expected), backend.run).problem == ""
        image = np.tile(feeds["image"], (1, 2, 2, 1))[:, :95, :111]
        wide = feeds | seen | {"image": rng.permutation(image, axis=1)}
        assert conversion.differences(model, backend, wide) == ""
        seen = conversion.answers(model, wide)
        cut = dict(parity.other_lengths(graph, feeds))
        assert {"height = 75", "height = 40", "width = 85", "width = 45"} <= cut.keys()
        for length, smaller in cut.items():
            if length.startswith(("height", "width")):
                assert conversion.differences(model, backend, smaller) == "", length


def test_a_gradient_without_an_onnx_form_is_noted_and_runs_on_tensorflow_only(tensorflow, tmp_path: Path) -> None:
    import keras

    from bookserve.steps import Pixels, Scale
    from bookserve.verb import Dream, Transform
    from export.sources.source import Source
    from export.write import write_bundle
    from tests.export.runs import write_run
    from trainers.networks import gradient_graphs

    image = keras.Input((None, None, 3), name="image")
    share = keras.Input((1,), name="contributions")
    for activation, file in (("relu", "model.onnx"), ("selu", None)):
        layer = keras.layers.Conv2D(4, 3, activation=activation)
        network = keras.Model(image, {"a": layer(image)})
        model = gradient_graphs.gradient_model(
            {"image": image, "contributions": share}, gradient_graphs.dream_loss(network), network
        )
        noise = np.random.default_rng(0).uniform(-1, 1, (2, 20, 24, 3)).astype(np.float32)
        verb = Transform(method=Dream({"a": 1.0}), before=(Scale(2 / 255, -1),), after=(Pixels(-1, 1),))
        run = write_run(
            tmp_path / "runs",
            activation,
            verb,
            {"gradient": model},
            {"gradient": {"image": noise, "contributions": np.ones((2, 1), np.float32)}},
            np.zeros((1, 20, 24, 3), np.uint8),
        )
        written = write_bundle(Source(activation, run.path / "saved_model", run), tmp_path / "models")
        assert written.bundle.manifest.graphs["gradient"].onnx == file
        assert bool(written.notes) == (file is None)
        card = (written.bundle.path / "README.md").read_text("utf-8")
        assert ("none: TensorFlow runs it" in card) == (file is None)

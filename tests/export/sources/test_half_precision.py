"""Models of mixed precision: they convert, and are compared with the tolerance of half precision. Others are not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bookserve.bundle import Bundle, parity
from bookserve.client import connect
from export.sources.source import find_source

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def exported(path: Path, models: Path) -> Bundle:
    from export.write import write_bundle

    return write_bundle(find_source(str(path), path.parent), models).bundle


def deep_network(keras: Any, kind: str) -> Any:
    """Ten layers that round, under the precision ``kind``, and one in float32 at the end."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = given = keras.Input((16, 16, 3), name="image")
    for number in range(5):
        y = layers.Conv2D(16, 3, padding="same", activation="gelu", dtype=kind)(x)
        y = layers.BatchNormalization(dtype=kind)(y)
        x = layers.Add(dtype=kind)([x, y]) if number else y
    x = layers.LayerNormalization(dtype=kind)(layers.GlobalAveragePooling2D(dtype=kind)(x))
    return keras.Model(given, layers.Dense(4, dtype="float32", name="scores")(x))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_a_network_of_mixed_precision_has_an_onnx_form(
    tensorflow, package: str, suffix: str, tmp_path: Path, models: Path
) -> None:
    from export.verify.verify import verify_bundle

    keras = pytest.importorskip(package)
    policy: Any = keras.mixed_precision.Policy("mixed_float16") if package == "tf_keras" else "mixed_float16"
    model = deep_network(keras, policy)
    model.save(tmp_path / f"net.{suffix}")
    bundle = exported(tmp_path / f"net.{suffix}", models)
    name, graph = bundle.graph()
    assert graph.half
    assert graph.onnx
    (check,) = verify_bundle(bundle)
    assert (check.graph, check.problem) == (name, "")
    assert check.tolerance == "float32 of half precision: 0.01 relative + 0.001"
    rows = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    with connect(f"local:{models}") as client:
        answers = np.stack([answer["scores"] for answer in client.predict("net", rows)])
    np.testing.assert_allclose(answers, np.asarray(model(rows)), rtol=1e-2, atol=5e-3)


def test_a_network_of_float32_is_compared_as_before(tensorflow, tmp_path: Path, models: Path) -> None:
    import keras

    deep_network(keras, "float32").save(tmp_path / "net.keras")
    bundle = exported(tmp_path / "net.keras", models)
    assert not bundle.graph()[1].half
    assert "precision" not in (bundle.path / "bundle.json").read_text()


def test_weights_that_are_stored_in_half_precision_are_no_computation_in_it(
    tensorflow: Any, tmp_path: Path, models: Path
) -> None:
    tf = tensorflow

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.ones((3, 2), np.float16))

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
        def __call__(self, x: Any) -> Any:
            return x @ tf.cast(self.kernel, tf.float32)

    net = Net()
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.__call__)
    assert not exported(tmp_path / "net", models).graph()[1].half


@pytest.mark.parametrize("computes", [False, True])
def test_an_onnx_file_computes_in_half_precision_where_it_does_more_than_convert_weights(
    computes: bool, tmp_path: Path, models: Path
) -> None:
    nodes = [helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("MatMul", ["x", "w32"], ["y"])]
    if computes:
        nodes = [
            helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["x16", "w"], ["y16"]),
            helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
        ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", size)) for name, size in (("x", 6), ("y", 4)))
    weights = numpy_helper.from_array(np.ones((6, 4), np.float16), "w")
    proto = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weights]))
    proto.opset_import[0].version, proto.ir_version = 17, 8
    onnx.save(proto, tmp_path / "net.onnx")
    assert exported(tmp_path / "net.onnx", models).graph()[1].half is computes


def test_the_tolerance_of_half_precision_is_that_of_float16() -> None:
    wanted, got = {"y": np.ones(2, np.float32)}, {"y": np.full(2, 1.005, np.float32)}
    assert parity.compare(wanted, got).problem
    assert not parity.compare(wanted, got, half=True).problem
    assert parity.compare(wanted, {"y": np.full(2, 1.02, np.float32)}, half=True).problem


def test_the_converter_logs_nothing(tensorflow, tmp_path: Path, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It warns that it fuses no layers of half precision, in the root logger."""
    import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((6, 3)), layers.LSTM(4, dtype="mixed_float16"), layers.Dense(1)])
    model.save(tmp_path / "net.keras")
    with caplog.at_level(logging.WARNING):
        exported(tmp_path / "net.keras", models)
    assert not caplog.records


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_answers_in_bfloat16_come_as_float32(tensorflow, package: str, tmp_path: Path, models: Path) -> None:
    from export.sources.saved_model import SavedModel

    keras = pytest.importorskip(package)
    policy: Any = keras.mixed_precision.Policy("mixed_bfloat16") if package == "tf_keras" else "mixed_bfloat16"
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, dtype=policy, name="y")])
    model.save(tmp_path / "net.keras")
    bundle = exported(tmp_path / "net.keras", models)
    assert str(bundle.graph()[1].outputs["y"]) == "float32[batch, 2]"
    rows = np.random.default_rng(0).random((2, 3), np.float32)
    answers = SavedModel(bundle.path).run("serving_default", {next(iter(bundle.graph()[1].inputs)): rows})["y"]
    np.testing.assert_allclose(answers, np.float32(np.asarray(model(rows))), rtol=1e-2)

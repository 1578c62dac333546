"""Bare ONNX files and SavedModels, without ``bundle.json``: described by what they declare and do."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from bookserve.errors import NotReady
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.engine import Engine
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from tests.bundles import write_onnx

F32 = "float32"


def write(home: Path, graph: Graph, nodes: list[tuple[str, str, str]], constants: Arrays, version: str = "1") -> None:
    directory = home / "bare" / version
    directory.mkdir(parents=True)
    made = [helper.make_node(kind, inputs.split(), outputs.split()) for kind, inputs, outputs in nodes]
    write_onnx(directory / "model.onnx", graph, made, constants)


def opened(home: Path) -> Engine:
    repository = Repository(home, Metrics())
    repository.load()
    return Engine(repository, Metrics())


def run(engine: Engine, feeds: Arrays) -> Arrays:
    return asyncio.run(engine.run(engine.model("bare"), "", feeds))


def double(first: int | str) -> Graph:
    shape = (first, 2)
    return Graph(inputs={"x": TensorSpec(F32, shape)}, outputs={"y": TensorSpec(F32, shape)})


TWO = {"two": np.array(2, np.float32)}


def test_an_onnx_file_is_served_and_batched(tmp_path: Path) -> None:
    write(tmp_path, double("N"), [("Mul", "x two", "y")], TWO, version="00000123")
    engine = opened(tmp_path)
    model = engine.model("bare")
    assert model.version == 123
    assert model.bundle.manifest.graphs["serving_default"] == Graph(
        inputs={"x": TensorSpec(F32, ("batch", 2))},
        outputs={"y": TensorSpec(F32, ("batch", 2))},
        onnx="model.onnx",
    )
    assert run(engine, {"x": np.ones((3, 2), np.float32)})["y"].tolist() == [[2, 2]] * 3
    answers = asyncio.run(engine.predict(model, [[1, 2], [3, 4]]))
    assert [answer["y"].tolist() for answer in answers] == [[2, 4], [6, 8]]  # type: ignore[union-attr]


def test_rows_that_depend_on_each_other_are_not_run_together(tmp_path: Path) -> None:
    nodes = [("ReduceMean", "x axis", "mean"), ("Sub", "x mean", "y")]
    write(tmp_path, double("batch"), nodes, {"axis": np.array([0], np.int64)})
    engine = opened(tmp_path)
    assert not engine.model("bare").bundle.graph()[1].batched
    assert run(engine, {"x": np.array([[1, 2], [3, 4]], np.float32)})["y"].tolist() == [[-1, -1], [1, 1]]


def test_a_fixed_shape_is_served_one_by_one(tmp_path: Path) -> None:
    write(tmp_path, double(4), [("Mul", "x two", "y")], TWO)
    engine = opened(tmp_path)
    assert engine.model("bare").bundle.graph()[1] == msg(double(4))
    assert run(engine, {"x": np.ones((4, 2), np.float32)})["y"].shape == (4, 2)


def msg(graph: Graph) -> Graph:
    return Graph(inputs=graph.inputs, outputs=graph.outputs, onnx="model.onnx")


def test_an_onnx_file_that_is_still_being_copied_waits_until_it_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, double("N"), [("Mul", "x two", "y")], TWO)
    repository = Repository(tmp_path, Metrics())
    repository.load()
    content = (tmp_path / "bare/1/model.onnx").read_bytes()
    (tmp_path / "bare/2").mkdir()
    for part in (content[:50], content[:100], content):
        (tmp_path / "bare/2/model.onnx").write_bytes(part)
        repository.refresh()
        assert [model.version for model in repository.models()] == [1]
        assert repository.status("bare")[0].state == "START"
    repository.refresh()
    assert [model.version for model in repository.models()] == [2]


def test_a_damaged_file_and_an_empty_directory_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "bare/1").mkdir(parents=True)
    engine = opened(tmp_path)
    with pytest.raises(NotReady, match=r"saved_model\.pb"):
        engine.model("bare")
    (tmp_path / "bare/1/model.onnx").write_bytes(b"broken")
    with pytest.raises(NotReady, match="cannot load"):
        opened(tmp_path).model("bare")


@pytest.mark.parametrize("location", ["../../secret", "x/../../../secret", "/etc/passwd"])
def test_weights_outside_the_version_are_not_read(tmp_path: Path, location: str) -> None:
    import onnx

    write(tmp_path, double("N"), [("Mul", "x two", "y")], {"two": np.ones((1, 2), np.float32)})
    (tmp_path / "secret").write_bytes(np.ones((1, 2), np.float32).tobytes())
    path = tmp_path / "bare/1/model.onnx"
    proto = onnx.load(path)
    (weights,) = proto.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        weights.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(NotReady, match="cannot load"):
        opened(tmp_path).model("bare")


SAVED = """
import sys, tensorflow as tf
class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half(self, x):
        return {"y": x / 2 + 2}
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def upper(self, text):
        return {"upper": tf.strings.upper(text)}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.half, "upper": model.upper})
"""
ASK = """
import asyncio, json, sys
from pathlib import Path
import numpy as np
from serve.engine import Engine
from serve.observability.metrics import Metrics
from serve.models.repository import Repository
repository = Repository(Path(sys.argv[1]), Metrics())
repository.load()
engine = Engine(repository, Metrics())
model = engine.model("bare")
half = asyncio.run(engine.run(model, "", {"x": np.array([1, 2, 5], np.float32)}))
upper = asyncio.run(engine.run(model, "upper", {"text": np.array([b"a", b"b"], object)}))
batched = [graph.batched for graph in model.bundle.manifest.graphs.values()]
print(json.dumps([half["y"].tolist(), [item.decode() for item in upper["upper"]], batched]))
"""


@pytest.mark.slow
def test_a_saved_model_is_served_by_tensorflow(tmp_path: Path) -> None:
    """In processes of their own: TensorFlow takes its time and its memory."""
    directory = tmp_path / "bare/7"
    for script, argument in ((SAVED, directory), (ASK, tmp_path)):
        command = [sys.executable, "-c", script, str(argument)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '[[2.5, 3.0, 4.5], ["A", "B"], [true, true]]'
    shutil.rmtree(directory)

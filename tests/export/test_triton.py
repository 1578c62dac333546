"""Test ``config.pbtxt`` with Triton's own schema, and compare it with the ONNX file that it describes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from bookserve import bundle
from bookserve.bundle import Bundle, Manifest, new_version, open_bundle, seal
from bookserve.bundle.examples import Examples
from bookserve.formats import triton
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import Numbers
from bookserve.verb import Predict
from tests.bundles import write_affine, write_pair

KINDS = ("convnet", "reviews", "writer", "plane", "prices")
#: ONNX's element types in Triton's words.
TRITON = {"float": "TYPE_FP32", "int32": "TYPE_INT32", "int64": "TYPE_INT64", "double": "TYPE_FP64"}


def read(models: Path, name: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((models / name / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig())


def dims_of(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("task", KINDS)
def test_every_field_agrees_with_the_onnx_file(bundles: dict[str, Bundle], task: str) -> None:
    opened = bundles[task]
    config = read(opened.path.parent.parent, task)
    assert (config.name, config.platform, config.backend) == (task, "onnxruntime_onnx", "onnxruntime")
    graph = onnx.load(opened.path / config.default_model_filename).graph
    assert config.max_batch_size == 256
    assert config.HasField("dynamic_batching")
    for described, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [item.name for item in described] == [value.name for value in values]
        for item, value in zip(described, values, strict=True):
            kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
            assert model_config_pb2.DataType.Name(item.data_type) == TRITON[kind]
            assert [-1, *item.dims] == dims_of(value)
    labelled = {item.name: item.label_filename for item in config.output if item.label_filename}
    assert labelled == ({"probabilities": "1/assets/labels.txt"} if task == "convnet" else {})
    for file in labelled.values():
        assert (opened.path.parent / file).read_text("utf-8").split() == ["a", "b", "c", "d"]


def test_tensors_of_the_batch_alone_are_described_whole(tmp_path: Path) -> None:
    write_pair(tmp_path)
    triton.write_config(tmp_path, "pair")
    config = read(tmp_path, "pair")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [(item.name, list(item.dims)) for item in config.input] == [("a", [-1, -1]), ("b", [-1])]
    assert [(item.name, list(item.dims)) for item in config.output] == [("sum", [-1]), ("next", [-1])]


def write_shape(models: Path, shape: tuple[int | str, ...], onnx_file: str | None = "model.onnx") -> Bundle:
    """A version of ``other`` that takes and gives tensors of ``shape``; no server will open its file."""
    spec = {"x": TensorSpec("float32", shape)}
    graph = Graph(inputs=spec, outputs={"y": spec["x"]}, onnx=onnx_file)
    verb = Predict(inputs={"x": (Numbers("float32"),)}, outputs={"y": ()})
    with new_version(models, "other") as directory:
        Examples({}, np.array([], np.uint8)).save(directory / "examples.npz")
        (directory / (onnx_file or "saved_model.pb")).write_bytes(b"")
        seal(directory, Manifest(name="other", verb=verb, graphs={"serving_default": graph}))
    return open_bundle(models, "other")


def test_a_single_number_is_reshaped(tmp_path: Path) -> None:
    write_shape(tmp_path, ())
    triton.write_config(tmp_path, "other")
    (taken,) = read(tmp_path, "other").input
    assert list(taken.dims) == [1]
    assert taken.HasField("reshape")
    assert not taken.reshape.shape


def test_it_describes_the_newest_version_and_goes_where_that_has_no_onnx_file(tmp_path: Path) -> None:
    for shape in (("batch", 3), ("batch", 5)):
        write_shape(tmp_path, shape)
        triton.write_config(tmp_path, "other")
        assert list(read(tmp_path, "other").input[0].dims) == [shape[1]]
    write_shape(tmp_path, ("batch", 5), None)
    triton.write_config(tmp_path, "other")
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["1", "2", "3"]


def test_beside_other_exporters_the_newest_version_is_described_last(tmp_path: Path) -> None:
    """Twelve threads publish versions of growing size at once; the last writer must have seen the newest one."""

    def export() -> None:
        write_affine(tmp_path)
        triton.write_config(tmp_path, "affine")

    threads = [threading.Thread(target=export) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = (tmp_path / "affine" / "config.pbtxt").read_text("utf-8")
    assert text.startswith("# affine, version 12:")
    assert not list((tmp_path / "affine").glob(".config-*"))
    assert bundle.versions(tmp_path, "affine") == list(range(1, 13))

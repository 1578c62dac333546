"""Triton's ``config.pbtxt`` beside the versions of a model: what is read, and what is refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest

from bookserve.errors import BookserveError
from bookserve.formats import triton
from bookserve.formats.triton_config import read_config
from bookserve.graph import Graph, TensorSpec
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from tests import bundles
from tests.serve.in_process import application_client

OPTIONS = LoadOptions(read_config=read_config)
TENSORS = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
"""


def write(models: Path, config: str, file: str = "model.onnx", versions: int = 1) -> Path:
    """A model repository as Triton's users have it: ``y = x`` over [batch, 3], a configuration and labels."""
    spec = {"x": TensorSpec("float32", ("batch", 3))}
    graph = Graph(inputs=spec, outputs={"y": spec["x"]}, onnx=file)
    for version in range(1, versions + 1):
        (models / "net" / str(version)).mkdir(parents=True)
        nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
        bundles.write_onnx(models / "net" / str(version) / file, graph, nodes, {})
    (models / "net" / "labels.txt").write_text("cat\ndog\n")
    (models / "net" / "config.pbtxt").write_text(config)
    return models


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., httpx.Client]]:
    opened: list[Any] = []

    def start(config: str, **more: Any) -> httpx.Client:
        opened.append(application_client(write(tmp_path, config, **more), OPTIONS))
        client: httpx.Client = opened[-1].__enter__()
        return client

    yield start
    for one in opened:
        one.__exit__(None, None, None)


def infer(http: httpx.Client, rows: int, **more: Any) -> httpx.Response:
    tensor = {"name": "x", "shape": [rows, 3], "datatype": "FP32", "data": [0.25, 0.5, 0.125] * rows}
    return http.post("/v2/models/net/infer", json={"inputs": [tensor], **more})


def test_batches_and_labels(serve: Callable[..., httpx.Client]) -> None:
    http = serve(f"max_batch_size: 4 dynamic_batching {{ max_queue_delay_microseconds: 100 }} {TENSORS}")
    assert infer(http, 4).json()["outputs"][0]["data"] == [0.25, 0.5, 0.125] * 4
    refused = infer(http, 5)
    assert (refused.status_code, "batch-size must be <= 4" in refused.json()["error"]) == (400, True)
    assert http.post("/v1/models/net:predict", json={"instances": [[1, 2, 3]] * 5}).status_code == 400
    assert http.post("/api/models/net/predict", json={"rows": [[1, 2, 3]] * 5}).status_code == 400
    classes = infer(http, 1, outputs=[{"name": "y", "parameters": {"classification": 3}}]).json()["outputs"][0]["data"]
    assert classes == ["0.500000:1:dog", "0.250000:0:cat", "0.125000:2"]
    (answer,) = http.post("/api/models/net/predict", json={"rows": [[0.25, 0.5, 0.125]]}).json()["answers"]
    assert [label["label"] for label in answer["y"]] == ["dog", "cat", ""]
    assert http.get("/v2/models/net/config").json()["max_batch_size"] == 4


def test_no_batches(serve: Callable[..., httpx.Client]) -> None:
    whole = TENSORS.replace("dims: [ 3 ]", "dims: [ -1, 3 ]").replace('label_filename: "labels.txt"', "")
    http = serve(f"max_batch_size: 0 {whole}")
    assert http.get("/v2/models/net/config").json()["max_batch_size"] == 0
    assert http.get("/v2/models/net").json()["inputs"][0]["shape"] == [-1, 3]
    assert infer(http, 2).json()["outputs"][0]["data"] == [0.25, 0.5, 0.125] * 2


def test_another_name_of_the_model_file(serve: Callable[..., httpx.Client]) -> None:
    http = serve('backend: "onnxruntime" default_model_filename: "net.onnx" max_batch_size: 8', file="net.onnx")
    assert infer(http, 1).status_code == 200


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("sequence_batching { }", "line 1: 'sequence_batching'"),
        ("\nmodel_warmup [ { name: 'w' } ]", "line 2: 'model_warmup'"),
        ("ensemble_scheduling { step [ ] }", "ensemble_scheduling"),
        ("model_transaction_policy { decoupled: true }", "decoupled"),
        ("response_cache { enable: true }", "response_cache"),
        ('backend: "python"', "backend 'python'"),
        ('platform: "tensorrt_plan"', "platform 'tensorrt_plan'"),
        ("instance_group [ { kind: KIND_GPU } ]", "KIND_GPU"),
        ("dynamic_batching { priority_levels: 2 }", "priority_levels"),
        ("dynamic_batching { default_queue_policy { default_timeout_microseconds: 5 } }", "default_timeout"),
        ("max_batch_size: -1", "max_batch_size below 0"),
        ("max_batch_size: four", "not a Triton model configuration"),
        ('input [ { name: "z" } ]', "no input 'z'"),
        ('input [ { name: "x" data_type: TYPE_INT32 } ]', "TYPE_INT32"),
        ('max_batch_size: 4 input [ { name: "x" dims: [ 4 ] } ]', "dims [4]"),
        ('max_batch_size: 4 output [ { name: "y" label_filename: "../../secret" } ]', "leads out of"),
        ('max_batch_size: 4 output [ { name: "y" label_filename: "none.txt" } ]', "none.txt cannot be read"),
        ('default_model_filename: "../../other.onnx"', "leads out of"),
        ('input [ { name: "x" reshape { shape: [ 1, 3 ] } } ]', "reshape"),
    ],
)
def test_what_is_not_done_is_refused_by_name(tmp_path: Path, config: str, named: str) -> None:
    repository = Repository(write(tmp_path, config), Metrics(), options=OPTIONS)
    repository.load()
    assert not repository.models()
    (error,) = repository.errors()
    assert named in error.message
    assert "config.pbtxt" in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    "config",
    [
        "",
        "instance_group [ { count: 2 kind: KIND_CPU } ]",
        'optimization { graph { level: 1 } } parameters { key: "a" value { string_value: "b" } }',
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] preserve_ordering: true }",
        'input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] format: FORMAT_NONE } ] max_batch_size: 8',
    ],
)
def test_what_only_makes_triton_faster_is_skipped(tmp_path: Path, config: str) -> None:
    repository = Repository(write(tmp_path, config), Metrics(), options=OPTIONS)
    repository.load()
    assert [model.name for model in repository.models()] == ["net"]
    repository.close()


@pytest.mark.parametrize(
    ("policy", "live"),
    [
        ("", [3]),
        ("version_policy { latest { num_versions: 2 } }", [2, 3]),
        ("version_policy { all { } }", [1, 2, 3]),
        ("version_policy { specific { versions: [ 1, 3 ] } }", [1, 3]),
    ],
)
def test_the_version_policy(tmp_path: Path, policy: str, live: list[int]) -> None:
    models = write(tmp_path, f"{policy} max_batch_size: 8", versions=3)
    repository = Repository(models, Metrics(), options=OPTIONS)
    repository.load()
    assert [model.version for model in repository.models()] == live
    repository.close()


def test_our_own_file_changes_nothing(tmp_path: Path) -> None:
    bundles.write_affine(tmp_path)
    triton.write_config(tmp_path, "affine")
    assert read_config(tmp_path / "affine") is None
    text = (tmp_path / "affine" / "config.pbtxt").read_text().partition("\n")[2].replace("256", "2")
    (tmp_path / "affine" / "config.pbtxt").write_text(text)
    found = read_config(tmp_path / "affine")
    assert found is not None
    assert found.row_limit == 2
    repository = Repository(tmp_path, Metrics(), options=OPTIONS)
    repository.load()
    (model,) = repository.models()
    with pytest.raises(BookserveError, match="must be <= 2"):
        model.check_rows(3)
    repository.close()

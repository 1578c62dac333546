"""Files that TensorFlow Serving's users bring: ``models.config``, batching parameters, warm-up requests.

What they hold is written by the official library, in a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound
from bookserve.graph import Graph, TensorSpec
from serve.batching.batch_config import BatchConfig
from serve.engine import Engine
from serve.models.model_config import ModelConfig, VersionPolicy
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from serve.protocols.tfserving.files import batching_parameters, models_config, warmup
from serve.protocols.tfserving.files.monitoring_config import read_metrics_path

FULL = """
# a comment
model_config_list: {
  config: { name: "half", base_path: "/models/half", model_platform: "tensorflow" }
  config {
    name: 'two' base_path: '/models/two'
    model_version_policy { latest { num_versions: 2 } }
    version_labels { key: 'stable' value: 3 }
    version_labels { key: 'canary' value: 4 }
    logging_config { sampling_config { sampling_rate: 0.5 } }
  }
  config { name: "all" base_path: "/models/x" model_version_policy: { all: {} } model_type: TENSORFLOW }
  config {
    name: "some" base_path: "/models/y"
    model_version_policy { specific { versions: 7 versions: 1 } }
  }
}
"""


def config(tmp_path: Path, text: str) -> list[ModelConfig]:
    (tmp_path / "models.config").write_text(text)
    return models_config.read_models_config(tmp_path / "models.config")


def test_a_models_config_is_read(tmp_path: Path) -> None:
    assert config(tmp_path, FULL) == [
        ModelConfig("half", Path("/models/half"), VersionPolicy()),
        ModelConfig("two", Path("/models/two"), VersionPolicy(latest=2), {"stable": 3, "canary": 4}),
        ModelConfig("all", Path("/models/x"), VersionPolicy(latest=None)),
        ModelConfig("some", Path("/models/y"), VersionPolicy(specific=(1, 7))),
    ]
    assert config(tmp_path, "model_config_list {}") == []


def one(fields: str) -> str:
    return f"model_config_list {{ config {{ {fields} }} }}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_config_list {", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("models: 3", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        (one("name: 'a' base_path: '/a' version: 3"), "Error parsing text-format"),
        ("\0\xff", "Error parsing text-format"),
        ("", "model_config_list"),
        (one("base_path: '/a'"), "no name"),
        (one("name: 'a'"), "Expected model a to have an absolute path"),
        (one("name: 'a' base_path: '../a'"), "Expected model a to have an absolute path"),
        (one("name: 'a' base_path: 's3://bucket/a'"), "absolute path"),
        (one("name: 'a' base_path: '/a' model_platform: 'caffe'"), "caffe"),
        (one("name: 'a' base_path: '/a' model_version_policy { specific {} }"), "names no versions"),
        (
            one("name: 'a' base_path: '/a' } config { name: 'a' base_path: '/b'"),
            "Illegal to list model a multiple times in config list",
        ),
    ],
)
def test_a_wrong_models_config_is_refused_in_that_servers_words(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        config(tmp_path, text)
    assert said in str(caught.value)


def test_files_that_are_missing(tmp_path: Path) -> None:
    for read in (models_config.read_models_config, batching_parameters.read_batching_parameters):
        with pytest.raises(NotFound, match="nowhere"):
            read(tmp_path / "nowhere")
        with pytest.raises(InvalidInput):
            read(tmp_path)


@pytest.mark.slow
def test_an_encoded_config_of_the_official_library_is_read() -> None:
    script = (
        "import sys; from google.protobuf import text_format;"
        "from tensorflow_serving.config import model_server_config_pb2 as pb;"
        "sys.stdout.buffer.write(text_format.Parse(sys.stdin.read(), pb.ModelServerConfig()).SerializeToString())"
    )
    done = subprocess.run([sys.executable, "-c", script], input=FULL.encode(), capture_output=True, check=True)
    assert [served.name for served in models_config.parse_models_config(done.stdout)] == ["half", "two", "all", "some"]
    assert models_config.parse_models_config(done.stdout)[1].labels == {"stable": 3, "canary": 4}
    with pytest.raises(InvalidInput):
        models_config.parse_models_config(b"\xff\xff")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", BatchConfig()),
        (
            "max_batch_size { value: 128 } batch_timeout_micros { value: 5000 }",
            BatchConfig(max_rows=128, max_delay=0.005),
        ),
        (
            "max_batch_size { value: 32 } allowed_batch_sizes: 8 allowed_batch_sizes: 32 "
            "max_enqueued_batches { value: 4 }",
            BatchConfig(max_rows=32, sizes=(8, 32), max_waiting=128),
        ),
        (
            "max_batch_size { value: 64 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 16 } allowed_batch_sizes: 4 allowed_batch_sizes: 16",
            BatchConfig(max_rows=16, sizes=(4, 16)),
        ),
        (
            "num_batch_threads { value: 8 } thread_pool_name { value: 'x' } pad_variable_length_inputs: true",
            BatchConfig(pad=True),
        ),
    ],
)
def test_batching_parameters_are_read(tmp_path: Path, text: str, expected: BatchConfig) -> None:
    (tmp_path / "batching").write_text(text)
    assert batching_parameters.read_batching_parameters(tmp_path / "batching") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size: 128", "Error parsing text-format tensorflow.serving.BatchingParameters"),
        ("max_batch { value: 3 }", "Error parsing text-format"),
        ("max_batch_size { value: 0 }", "max_batch_size is 0; it must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros"),
        ("num_batch_threads { value: 0 }", "num_batch_threads"),
        (
            "max_batch_size { value: 128 } allowed_batch_sizes: 8",
            "Last entry in allowed_batch_sizes must match max_batch_size",
        ),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 8", "increasing"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 0 allowed_batch_sizes: 8", "positive"),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 16 }",
            "max_execution_batch_size (16) must be less than or equal to max_batch_size (8)",
        ),
    ],
)
def test_wrong_batching_parameters_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "batching").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        batching_parameters.read_batching_parameters(tmp_path / "batching")
    assert said in str(caught.value)


RECORDS = """
import sys
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2 as pb
with tf.io.TFRecordWriter(sys.argv[1]) as records:
    for content in ([[0.0, 1, 2]], [[1.0, 1, 1], [2, 2, 2]]):
        log = pb.PredictionLog()
        log.predict_log.request.model_spec.name = "affine"
        log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(content, tf.float32))
        records.write(log.SerializeToString())
log = pb.PredictionLog()
log.classify_log.request.input.example_list.examples.add().features.feature["x"].int64_list.value.append(3)
with tf.io.TFRecordWriter(sys.argv[2]) as records:
    records.write(log.SerializeToString())
"""


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Predict requests for ``affine``, and a classify request, as TensorFlow writes them."""
    directory = tmp_path_factory.mktemp("records")
    command = [sys.executable, "-c", RECORDS, str(directory / "predict"), str(directory / "classify")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    return (directory / "predict").read_bytes(), (directory / "classify").read_bytes()


@pytest.fixture
def affine(models: Path, tmp_path: Path) -> bundle.Bundle:
    shutil.copytree(models / "affine", tmp_path / "affine")
    (tmp_path / "affine/1/assets.extra").mkdir()
    return bundle.open_bundle(tmp_path, "affine")


def load(opened: bundle.Bundle, content: bytes) -> Repository:
    """A repository of that model, with these warm-up records."""
    (opened.path / warmup.WARMUP_PATH).write_bytes(content)
    repository = Repository(
        opened.path.parent.parent, Metrics(), options=LoadOptions(warmup_requests=warmup.read_warmup_requests)
    )
    repository.load()
    return repository


def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", warmup.masked_crc(part)) for part in (head, data)]
    return head + checks[0] + data + checks[1]


@pytest.mark.slow
def test_the_official_records_are_read_and_run(affine: bundle.Bundle, official: tuple[bytes, bytes]) -> None:
    repository = load(affine, official[0])
    found = list(warmup.read_warmup_requests(affine))
    assert [(name, feeds["x"].tolist()) for name, feeds in found] == [
        ("serving_default", [[0, 1, 2]]),
        ("serving_default", [[1, 1, 1], [2, 2, 2]]),
    ]
    assert [status.state for status in repository.status("affine")] == ["AVAILABLE"]
    text = repository._metrics.expose()[0].decode()
    rows = next(line for line in text.splitlines() if line.startswith("bookserve_batch_rows_sum"))
    assert float(rows.rpartition(" ")[2]) == 1 + 1 + 2  # the bundle's own example, and both records
    engine = Engine(repository, Metrics())
    outputs = asyncio.run(engine.run(engine.model("affine"), "", {"x": np.zeros((1, 3), np.float32)}))
    assert outputs["y"].tolist() == [[1, 1, 1]]


@pytest.mark.slow
def test_examples_go_into_the_one_input_of_strings(affine: bundle.Bundle, official: tuple[bytes, bytes]) -> None:
    (affine.path / warmup.WARMUP_PATH).write_bytes(official[1])
    with pytest.raises(Failed, match="Feature: x"):  # its graph takes three numbers
        list(warmup.read_warmup_requests(affine))
    texts = Graph(inputs={"examples": TensorSpec("string", ("batch",))}, outputs={})
    affine.manifest.graphs["serving_default"] = texts
    ((name, feeds),) = warmup.read_warmup_requests(affine)
    assert name == "serving_default"
    assert feeds["examples"].dtype == object
    assert b"x" in feeds["examples"][0]


@pytest.mark.slow
def test_records_that_fail_keep_a_version_from_serving(affine: bundle.Bundle, official: tuple[bytes, bytes]) -> None:
    good = official[0]
    damaged = bytearray(good)
    damaged[20] ^= 1
    wrong_name = record(good[12:-4][:0] + b"\x32\x02\x0a\x00")  # a predict_log without inputs
    for content, said in (
        (bytes(damaged), "damaged"),
        (good[:-1], "damaged"),
        (good[:5], "damaged"),
        (record(b"\xff\xff"), "Failed to parse warmup record"),
        (record(b""), "no request"),
        (record(b"\x2a\x00"), "Unsupported log_type"),
        (wrong_name, "warm-up request"),
        (record(b"\x32\x07\x0a\x05\x0a\x03\x1a\x01z"), "signature 'z'"),
        (good * 501, "exceeds the maximum (1000)"),
        (official[1], "Feature: x"),
    ):
        repository = load(affine, content)
        assert repository.models() == []
        (status,) = repository.status("affine")
        assert status.state == "END"
        assert said in status.error, said


@pytest.mark.slow
def test_a_thousand_records_are_not_too_many(affine: bundle.Bundle, official: tuple[bytes, bytes]) -> None:
    assert len(load(affine, official[0] * 500).models()) == 1


@pytest.mark.parametrize(("data", "crc"), [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)])
def test_the_checksum_is_crc_32c(data: bytes, crc: int) -> None:
    """Source of the values: RFC 3720, B.4, and the catalogue's check value."""
    assert warmup.masked_crc(data) == (((crc >> 15 | crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.slow
def test_every_error_is_one_of_ours(affine: bundle.Bundle, official: tuple[bytes, bytes]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(official[0])
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(0, 256)
        (affine.path / warmup.WARMUP_PATH).write_bytes(content)
        try:
            list(warmup.read_warmup_requests(affine))
        except BookserveError:
            continue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('prometheus_config { enable: true, path: "/watch" }', "/watch"),
        ("prometheus_config: { enable: true }", "/default"),
        ('prometheus_config { path: "/watch" }', ""),
        ("", ""),
    ],
)
def test_the_monitoring_config_names_the_path_of_the_metrics(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "monitoring").write_text(text)
    assert read_metrics_path(tmp_path / "monitoring", "/default") == expected


@pytest.mark.parametrize("text", ["prometheus_config { enable: yes }", 'prometheus_config { enable: true path: "x" }'])
def test_a_monitoring_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "monitoring").write_text(text)
    with pytest.raises(InvalidInput, match="monitoring"):
        read_metrics_path(tmp_path / "monitoring", "/default")
    with pytest.raises(NotFound, match="nowhere"):
        read_metrics_path(tmp_path / "nowhere", "/default")

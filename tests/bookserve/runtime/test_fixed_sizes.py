"""Buffers of fixed batch sizes: chosen by a fake GPU's cost model, and bound for real on the CPU."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.bundle import parity
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from bookserve.runtime import DeviceConfig, DeviceSession, register_runtime, registry
from bookserve.runtime.composite import open_onnx
from bookserve.runtime.devices import DeviceLost
from bookserve.runtime.fake import FakeModel, FakeSession
from bookserve.runtime.fake_gpu import FakeClock, FakeGpu, FakeGpuRuntime
from bookserve.runtime.fixed_sizes import FixedSizeSession, filled_up, size_table, takes_fixed_sizes, time_fixed
from bookserve.runtime.onnx import OnnxSession
from bookserve.runtime.onnx_bound import BoundOnnxSession
from bookserve.runtime.placement import GraphFacts

SIZES = (1, 8)


def x(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)}


@pytest.fixture(autouse=True)
def no_other_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])


@pytest.mark.parametrize("name", ["mnist_convnet", "imdb_lstm", "boston_housing", "mnist_vae"])
def test_a_bound_session_gives_the_answers_of_the_plain_one(name: str) -> None:
    """With ONNX Runtime's I/O binding on the CPU; a second run must not change what the first one gave."""
    opened = bundle.open_bundle(Path("pretrained"), name)
    graph_name, graph = opened.graph()
    path = opened.path / str(graph.onnx)
    facts = GraphFacts.of(opened, graph_name, opened.examples().graphs[graph_name].inputs)
    assert takes_fixed_sizes(graph)
    plain = OnnxSession(path)
    bound = BoundOnnxSession(plain.session, graph, SIZES)
    for rows in (8, 1, 8):
        feeds = facts.feeds_of(rows)
        first = bound.run(feeds)
        bound.run({key: np.zeros_like(array) for key, array in feeds.items()})
        assert not parity.compare(plain.run(feeds), first).problem
    with pytest.raises(Failed, match="no buffers for 3 rows"):
        bound.run(facts.feeds_of(3))


def test_a_fake_gpu_runs_small_batches_through_buffers_and_fills_them_up(models: Path) -> None:
    gpu = FakeGpu(start=1e-3, per_row=1e-6, fixed_start=1e-4)
    register_runtime(FakeGpuRuntime(gpu, clock=FakeClock(real=False)))
    opened = bundle.open_bundle(models, "affine")
    session = open_onnx(opened, opened.graph()[0], device=DeviceConfig("cuda", cuda_graphs=True))
    assert isinstance(session, DeviceSession)
    gpu.runs.clear()
    gpu.fixed_runs.clear()
    for rows in (1, 3, 8, 200, 257):
        np.testing.assert_array_equal(session.run(x(rows))["y"], x(rows)["x"] * 2 + 1)
    assert (gpu.fixed_runs, gpu.runs) == ([1, 8, 8, 256], [257])
    assert session.counts["cuda:0"].rows == 469


@pytest.mark.parametrize("config", [DeviceConfig("cuda"), DeviceConfig("cuda", cuda_graphs=True)])
def test_without_the_option_or_without_a_gain_there_are_no_buffers(models: Path, config: DeviceConfig) -> None:
    gpu = FakeGpu(start=1e-4, fixed_start=1e-3 if config.cuda_graphs else 1e-5, memory=1 << 20)
    register_runtime(FakeGpuRuntime(gpu, clock=FakeClock(real=False)))
    opened = bundle.open_bundle(models, "affine")
    session = open_onnx(opened, opened.graph()[0], device=config)
    gpu.fixed_runs.clear()
    session.run(x(1))
    assert gpu.fixed_runs == []
    assert gpu.used == (opened.path / "model.onnx").stat().st_size  # the buffers' session is closed again


class Wrong(FakeSession):
    def run(self, feeds):  # type: ignore[no-untyped-def]
        return {name: array + 1 for name, array in super().run(feeds).items()}


def test_buffers_that_answer_otherwise_are_not_used() -> None:
    clock = FakeClock(real=False)
    model = FakeModel({"x": "float32[batch, 3]"}, {"y": "float32[batch, 3]"})
    assert time_fixed(FakeSession(model), Wrong(model), x, clock) == {}
    assert list(time_fixed(FakeSession(model), FakeSession(model), x, clock)) == [1, 8, 32, 128, 256]


class Fails(FakeSession):
    error: Failed = Failed("CUDA refuses to record this.")

    def run(self, feeds):  # type: ignore[no-untyped-def]
        raise self.error


def test_buffers_that_fail_later_lose_no_batch(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel({"x": "float32[batch, 3]"}, {"y": "float32[batch, 3]"}, scale=2)
    fixed = Fails(model)
    session = FixedSizeSession(FakeSession(model), fixed, [0, 1, 8], "the graph")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert session.run(x(2))["y"].tolist() == (x(2)["x"] * 2).tolist()
    assert caplog.messages == ["the graph runs without fixed buffers from now on: CUDA refuses to record this."]
    fixed.error = DeviceLost("cuda:0 has failed.")
    with pytest.raises(DeviceLost):  # the whole GPU has: DeviceSession goes on with the CPU
        FixedSizeSession(FakeSession(model), fixed, [0, 1, 8], "the graph").run(x(2))


def test_a_size_is_filled_up_only_where_that_is_faster() -> None:
    plain = {1: 1.0, 8: 2.0, 32: 8.0, 128: 32.0, 256: 64.0}
    table = size_table(plain, {1: 0.5, 8: 1.5, 32: 7.9})
    assert table[:9] == [0, 1, 0, 0, 0, 0, 8, 8, 8]
    assert not any(table[9:])
    assert size_table(plain, {1: 1.0}) == []
    assert filled_up(x(2), 4)["x"].tolist() == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]]


def test_free_lengths_and_texts_have_no_fixed_size() -> None:
    def graph(dtype: str, *shape: int | str) -> Graph:
        return Graph(inputs={"x": TensorSpec(dtype, shape)}, outputs={"y": TensorSpec("float32", ("batch", 2))})

    assert takes_fixed_sizes(graph("float32", "batch", 3))
    assert not takes_fixed_sizes(graph("float32", "batch", "length"))
    assert not takes_fixed_sizes(graph("string", "batch"))
    assert not takes_fixed_sizes(graph("float32", "..."))

"""A hot graph on several fake GPUs: large batches are shared, small ones are not, and a GPU that fails is left out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from bookserve.graph import Graph, TensorSpec
from bookserve.runtime import DeviceConfig, DeviceSession, register_runtime, registry
from bookserve.runtime.fake import FakeRuntime
from bookserve.runtime.fake_gpu import FakeClock, FakeGpu, FakeGpuRuntime
from bookserve.runtime.placement import GraphFacts, open_placed
from bookserve.runtime.replicas import WINDOW, ReplicaSession

GRAPH = Graph(inputs={"x": TensorSpec("float32", ("batch", 1))}, outputs={"y": TensorSpec("float32", ("batch", 1))})
MODEL = '{"inputs": {"x": "float32[batch, 1]"}, "outputs": {"y": "float32[batch, 1]"}, "scale": 2}'


def run(session: DeviceSession, rows: int) -> None:
    feeds = {"x": np.arange(rows, dtype=np.float32).reshape(-1, 1)}
    np.testing.assert_array_equal(session.run(feeds)["y"], feeds["x"] * 2)


class Machine:
    """A machine with fake GPUs, and a graph that may be opened on two of them."""

    def __init__(self, directory: Path, *gpus: FakeGpu) -> None:
        self.clock = FakeClock(real=False)
        path = directory / "model.fake"
        path.write_text(MODEL)
        register_runtime(FakeRuntime(self.clock.advance))
        register_runtime(FakeGpuRuntime(*gpus, clock=self.clock))
        found = open_placed(path, GraphFacts(GRAPH, "the graph"), DeviceConfig("cuda", replicas=2))
        assert isinstance(found, DeviceSession)
        assert isinstance(found._gpu, ReplicaSession)
        self.session, self.replicas = found, found._gpu

    def work(self, rows: int, pause: float = 0.0) -> None:
        """Run batches for longer than the window in which it is seen whether the graph is hot."""
        end = self.clock() + 2 * WINDOW
        while self.clock() < end:
            run(self.session, rows)
            self.clock.advance(pause)
        if self.replicas.opening:
            self.replicas.opening.join()


@pytest.fixture(autouse=True)
def no_other_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])


@pytest.fixture
def gpus() -> tuple[FakeGpu, FakeGpu]:
    """The first has more free memory, so a graph is opened there first."""
    return FakeGpu("A", start=0.1, memory=2000), FakeGpu("B", start=0.1, memory=1000)


def test_a_hot_graph_is_opened_on_a_second_gpu_and_large_batches_are_shared(
    tmp_path: Path, gpus: tuple[FakeGpu, FakeGpu], caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path, *gpus)
    with caplog.at_level(logging.INFO, "bookserve"):
        machine.work(256)
    assert machine.session.describe()["gpu"] == "cuda:0, cuda:1"
    assert "the graph is hot: it runs on cuda:1, too" in caplog.messages
    for gpu in gpus:
        gpu.runs.clear()
    run(machine.session, 201)
    assert [gpu.runs for gpu in gpus] == [[100], [101]]
    run(machine.session, 127)  # too few to be shared
    assert [gpu.runs for gpu in gpus] == [[100, 127], [101]]
    counted = {device: count.rows for device, count in machine.session.counts.items()}
    assert counted["cuda:1"] >= 101
    assert counted["cpu"] == 0


@pytest.mark.parametrize(("rows", "pause"), [(256, 1.0), (32, 0.0)])
def test_a_graph_with_pauses_or_small_batches_stays_on_one_gpu(
    tmp_path: Path, gpus: tuple[FakeGpu, FakeGpu], rows: int, pause: float
) -> None:
    machine = Machine(tmp_path, *gpus)
    machine.work(rows, pause)
    assert machine.session.describe()["gpu"] == "cuda:0"
    assert gpus[1].runs == []


def test_a_replica_that_fails_is_left_out_and_no_row_is_lost(
    tmp_path: Path, gpus: tuple[FakeGpu, FakeGpu], caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path, *gpus)
    machine.work(256)
    gpus[0].lost = True
    with caplog.at_level(logging.WARNING):
        run(machine.session, 256)
    assert machine.session.describe() == {"gpu": "cuda:1", "gpu_from_rows": 1, "problem": ""}
    assert "the graph runs without cuda:0 from now on" in caplog.text
    gpus[1].lost = True
    run(machine.session, 256)  # on the CPU
    assert machine.session.counts["cpu"].rows == 256
    assert machine.session.problem


def test_there_is_no_second_gpu_or_no_memory_on_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(tmp_path, FakeGpu(start=0.1, memory=2000), FakeGpu(start=0.1, memory=10))
    with caplog.at_level(logging.WARNING):
        machine.work(256)
        machine.work(256)
    assert machine.session.describe()["gpu"] == "cuda:0"
    assert len(caplog.messages) == 1
    assert "cannot be opened on another GPU: the memory of cuda:1 is too small" in caplog.text

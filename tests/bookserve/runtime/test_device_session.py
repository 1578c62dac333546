"""Sessions on a fake GPU and the CPU: which one runs a batch, and what happens when memory is short or a GPU fails."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.runtime import (
    DeviceConfig,
    DeviceSession,
    Session,
    open_sessions,
    register_runtime,
    registry,
    resolve_device,
)
from bookserve.runtime.device_session import FAILED, LOST, NO_MEMORY
from bookserve.runtime.devices import DeviceUnavailable, OutOfMemory
from bookserve.runtime.fake import FakeRuntime
from bookserve.runtime.fake_gpu import FakeClock, FakeGpu, FakeGpuRuntime
from bookserve.runtime.placement import GraphFacts, open_placed

GRAPH = Graph(inputs={"x": TensorSpec("float32", ("batch", 1))}, outputs={"y": TensorSpec("float32", ("batch", 1))})
#: The CPU needs 0.1 ms for a row.
MODEL = '{"inputs": {"x": "float32[batch, 1]"}, "outputs": {"y": "float32[batch, 1]"}, "scale": 2, "per_row": 1e-4}'
NO_DRIVER = DeviceUnavailable("NVIDIA's driver is not installed.", "Install it.")


def rows(count: int) -> Arrays:
    return {"x": np.arange(count, dtype=np.float32).reshape(-1, 1)}


class Machine:
    """A machine with fake GPUs, and a model that both kinds of devices run."""

    def __init__(self, directory: Path, *gpus: FakeGpu, problem: DeviceUnavailable | None = None) -> None:
        self.clock = FakeClock(real=False)
        self.path = directory / "model.fake"
        self.path.write_text(MODEL)
        self.cache = directory / "cache"
        register_runtime(FakeRuntime(self.clock.advance))
        self.runtime = FakeGpuRuntime(*gpus, clock=self.clock, problem=problem)
        register_runtime(self.runtime)

    def open(self, device: str = "auto", *, seeded: bool = False, measure: bool = True, gpu_memory: int = 0) -> Session:
        config = DeviceConfig(device, gpu_memory=gpu_memory, measure=measure, cache=self.cache)
        return open_placed(self.path, GraphFacts(GRAPH, "the graph", "abc", rows(4), seeded), config)

    def open_on_devices(self, device: str = "auto") -> DeviceSession:
        session = self.open(device)
        assert isinstance(session, DeviceSession)
        return session


@pytest.fixture(autouse=True)
def no_other_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])


def test_small_batches_run_on_the_cpu_and_large_ones_on_the_gpu(tmp_path: Path) -> None:
    gpu = FakeGpu(start=1e-3, per_row=1e-5)
    session = Machine(tmp_path, gpu).open_on_devices()
    gpu.runs.clear()
    for count in (1, 11, 12, 256):
        assert session.run(rows(count))["y"].tolist() == (2 * rows(count)["x"]).tolist()
    assert gpu.runs == [12, 256]
    assert [(device, count.runs, count.rows) for device, count in session.counts.items()] == [
        ("cpu", 2, 12),
        ("cuda:0", 2, 268),
    ]
    assert session.counts["cpu"].seconds == pytest.approx(1.2e-3)
    assert session.counts["cuda:0"].seconds == pytest.approx(2e-3 + 2.68e-3)
    assert session.describe() == {"gpu": "cuda:0", "gpu_from_rows": 12, "problem": ""}


def test_a_gpu_that_is_never_faster_is_given_back(tmp_path: Path) -> None:
    gpu = FakeGpu(start=1.0, memory=10_000)
    session = Machine(tmp_path, gpu).open()
    assert not isinstance(session, DeviceSession)
    assert gpu.used == 0


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    gpu = FakeGpu(start=1e-3)
    machine = Machine(tmp_path, gpu)
    first = machine.open_on_devices()
    gpu.runs.clear()
    gpu.start = 5.0  # what a second measurement would notice
    again = machine.open_on_devices()
    assert again.plan.gpu_from == first.plan.gpu_from
    assert gpu.runs == []


def test_without_measuring_large_batches_go_to_the_gpu(tmp_path: Path) -> None:
    gpu = FakeGpu(start=5.0)
    session = Machine(tmp_path, gpu).open(measure=False)
    session.run(rows(31))
    session.run(rows(32))
    assert gpu.runs == [32]


@pytest.mark.parametrize(("start", "on_gpu"), [(1e-4, True), (1e-1, False)])
def test_a_seeded_graph_stays_on_one_device(tmp_path: Path, start: float, on_gpu: bool) -> None:
    gpu = FakeGpu(start=start, per_row=1e-5)
    session = Machine(tmp_path, gpu).open(seeded=True)
    gpu.runs.clear()
    for count in (1, 300):
        session.run(rows(count))
    assert gpu.runs == ([1, 300] if on_gpu else [])


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gpu = FakeGpu(start=1e-6, per_row=1e-6)
    session = Machine(tmp_path, gpu).open_on_devices("cuda")
    gpu.max_rows = 30
    with caplog.at_level(logging.WARNING):
        assert session.run(rows(100))["y"].tolist() == (2 * rows(100)["x"]).tolist()
    assert gpu.runs == [25, 25, 25, 25]
    assert session.fallbacks == {NO_MEMORY: 2}  # 100 rows, and 50; the second 50 are halved at once
    assert session.run(rows(60))["y"].shape == (60, 1)
    assert gpu.runs[4:] == [30, 30]
    assert len(caplog.records) == 1
    assert "100 rows are too many for cuda:0" in caplog.text


def test_one_row_that_does_not_fit_runs_on_the_cpu(tmp_path: Path) -> None:
    gpu = FakeGpu()
    session = Machine(tmp_path, gpu).open_on_devices("cuda")
    gpu.max_rows = -1
    gpu.runs.clear()
    assert session.run(rows(3))["y"].tolist() == [[0], [2], [4]]
    assert gpu.runs == []
    assert session.counts["cpu"].rows == 3


def test_a_gpu_that_fails_is_not_used_again_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = FakeGpu(start=1e-6)
    session = Machine(tmp_path, gpu).open_on_devices("cuda")
    gpu.lost = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert session.run(rows(2))["y"].tolist() == [[0], [2]]
    gpu.lost = False
    session.run(rows(2))
    assert gpu.runs == []
    assert session.fallbacks == {LOST: 1}
    assert "cuda:0 has failed: CUDA failure 719" in session.problem
    assert [record.getMessage() for record in caplog.records] == [
        f"the graph runs on the CPU from now on: {session.problem}"
    ]


def test_what_the_model_refuses_is_refused_on_the_gpu_too(tmp_path: Path) -> None:
    session = Machine(tmp_path, FakeGpu()).open_on_devices("cuda")
    with pytest.raises(InvalidInput, match="negative"):
        session.run({"x": np.array([[-1]], np.float32)})
    assert FAILED not in session.fallbacks


def test_cuda_without_a_gpu_is_one_error_and_auto_goes_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path, problem=NO_DRIVER)
    for device in ("cuda", "cuda:0"):
        with pytest.raises(DeviceUnavailable, match="driver is not installed"):
            machine.open(device)
    assert machine.open("auto").run(rows(1))["y"].tolist() == [[0]]
    config, gpus, problem = resolve_device(DeviceConfig("auto"))
    assert (config.name, gpus) == ("cpu", [])
    assert problem
    with pytest.raises(DeviceUnavailable):
        resolve_device(DeviceConfig("cuda"))


def test_a_gpu_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="no GPU cuda:7") as caught:
        Machine(tmp_path, FakeGpu("A"), FakeGpu("B")).open("cuda:7")
    assert caught.value.hint == "GPUs here: cuda:0 (A), cuda:1 (B)."


def test_a_graph_goes_to_the_gpu_with_the_most_free_memory(tmp_path: Path) -> None:
    size = len(MODEL)
    machine = Machine(tmp_path, FakeGpu("A", memory=2 * size + 1), FakeGpu("B", memory=2 * size))
    kept = [machine.open_on_devices("cuda") for _ in range(4)]
    assert [session.device for session in kept] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    with pytest.raises(OutOfMemory):
        machine.open("cuda")
    assert not isinstance(machine.open("auto"), DeviceSession)
    del kept[0]
    assert machine.open_on_devices("cuda").device == "cuda:0"


def test_a_graph_may_take_so_much_memory_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(tmp_path, FakeGpu())
    with pytest.raises(OutOfMemory, match="needs"):
        machine.open("cuda", gpu_memory=10)
    with caplog.at_level(logging.WARNING):
        assert not isinstance(machine.open("auto", gpu_memory=10), DeviceSession)
    assert "the graph runs on the CPU: the memory of cuda:0 is too small" in caplog.text


def test_every_graph_of_a_bundle_runs_on_a_gpu(models: Path) -> None:
    gpu = FakeGpu()
    register_runtime(FakeGpuRuntime(gpu))
    for name in ("affine", "pair", "writer", "plane"):
        opened = bundle.open_bundle(models, name)
        cpu, on_gpu = open_sessions(opened), open_sessions(opened, device="cuda")
        for graph, example in opened.examples().graphs.items():
            session = on_gpu[graph]
            assert isinstance(session, DeviceSession)
            for output, array in cpu[graph].run(example.inputs).items():
                np.testing.assert_array_equal(session.run(example.inputs)[output], array)
            assert session.counts["cuda:0"].runs

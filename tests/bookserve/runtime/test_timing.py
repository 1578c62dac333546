"""Which device runs a batch: what the times say, what is kept of them, and how long timing may take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime.devices import DeviceConfig, OutOfMemory, parse_device
from bookserve.runtime.fake import FakeModel, FakeSession
from bookserve.runtime.fake_gpu import FakeClock, FakeGpu, FakeGpuSession
from bookserve.runtime.timing import SIZES, Plan, Timings, TimingStore, one_device, seconds, time_graph, timing_key

MODEL = FakeModel(inputs={"x": "float32[batch, 1]"}, outputs={"y": "float32[batch, 1]"})


def feeds_of(rows: int) -> Arrays:
    return {"x": np.ones((rows, 1), np.float32)}


def timed(gpu: FakeGpu, cpu_per_row: float, budget: float = 1.0) -> tuple[Timings, FakeClock, FakeSession]:
    clock = FakeClock(real=False)
    cpu = FakeSession(FakeModel(MODEL.inputs, MODEL.outputs, per_row=cpu_per_row), clock.advance)
    on_gpu = FakeGpuSession(FakeSession(MODEL), gpu, "cuda:0", clock)
    return time_graph(cpu, on_gpu, feeds_of, clock=clock, budget=budget), clock, cpu


@pytest.mark.parametrize(
    ("text", "name"),
    [("auto", "auto"), ("cpu", "cpu"), ("cuda", "cuda"), ("gpu", "cuda"), ("cuda:1", "cuda:1"), ("gpu:02", "cuda:2")],
)
def test_names_of_devices(text: str, name: str) -> None:
    assert parse_device(text) == name
    assert DeviceConfig.of(text).name == name


@pytest.mark.parametrize("text", ["", "tpu", "cpu:0", "auto:1", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "gpu:٣"])
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a device; expected auto, cpu, cuda or cuda:N"):
        parse_device(text)


def test_batches_go_to_the_gpu_from_where_it_is_faster() -> None:
    timings, _, _ = timed(FakeGpu(start=1e-3, per_row=1e-5), cpu_per_row=1e-4)
    assert timings.cpu == pytest.approx({rows: rows * 1e-4 for rows in SIZES})
    assert timings.gpu == pytest.approx({rows: 1e-3 + rows * 1e-5 for rows in SIZES})
    plan = Plan.faster(timings)
    assert plan.gpu_from == 12  # 1.2 ms on the CPU, 1.12 ms on the GPU; the lines cross at 11.1 rows
    assert [plan.on_gpu(rows) for rows in (0, 1, 11, 12, 5000)] == [False, False, False, True, True]


def test_the_choice_is_within_a_tenth_of_the_better_device_at_every_size() -> None:
    gpu, per_row = FakeGpu(start=9e-4, per_row=3e-5), 7e-5
    plan = Plan.faster(timed(gpu, per_row)[0])
    for rows in range(1, 2000):
        costs = {False: per_row * rows, True: gpu.start + gpu.per_row * rows}
        assert costs[plan.on_gpu(rows)] <= 1.1 * min(costs.values())


def test_timing_a_slow_graph_leaves_out_large_batches() -> None:
    timings, clock, cpu = timed(FakeGpu(start=1e-3, per_row=1e-5), cpu_per_row=0.02)
    assert clock() <= 1.2
    assert max(timings.cpu) < 256 == max(timings.gpu)
    assert max(len(run["x"]) for run in cpu.runs) == max(timings.cpu)
    assert Plan.faster(timings).on_gpu(256)


def test_a_batch_that_does_not_fit_is_left_out_of_the_times() -> None:
    timings, _, _ = timed(FakeGpu(max_rows=32), cpu_per_row=1e-4)
    assert sorted(timings.gpu) == [1, 8, 32]
    with pytest.raises(OutOfMemory):
        timed(FakeGpu(max_rows=-1), cpu_per_row=1e-4)


def test_a_gpu_that_is_never_faster_gets_nothing() -> None:
    plan = Plan.faster(timed(FakeGpu(start=1.0, per_row=1.0), cpu_per_row=1e-6)[0])
    assert plan.gpu_from is None
    assert not plan.on_gpu(100_000)


def test_what_nobody_measured_goes_to_the_gpu_in_large_batches() -> None:
    plan = Plan.from_rows()
    assert (plan.on_gpu(31), plan.on_gpu(32), plan.gpu_from) == (False, True, 32)


def test_one_device_for_all_batches_is_the_one_that_loses_less_at_its_worst_size() -> None:
    decoder = Timings({1: 0.2e-3, 256: 69e-3}, {1: 0.4e-3, 256: 0.5e-3})  # 2 times slower, 138 times faster
    lstm = Timings({1: 0.2e-3, 256: 64e-3}, {1: 6.2e-3, 256: 9e-3})  # 31 times slower, 7 times faster
    assert one_device(decoder, never_slower=False)
    assert not one_device(lstm, never_slower=False)
    assert not one_device(decoder, never_slower=True)
    assert one_device(Timings({1: 2.0}, {1: 1.0}), never_slower=True)


def test_seconds_between_and_beyond_the_sizes() -> None:
    measured = {1: 1.0, 3: 2.0}
    assert [seconds(measured, rows) for rows in (0, 1, 2, 3, 6)] == [1.0, 1.0, 1.5, 2.0, 4.0]


def test_times_are_kept_by_graph_gpu_and_version(tmp_path: Path) -> None:
    store, timings = TimingStore(tmp_path / "cache"), Timings({1: 0.5, 8: 1.0}, {1: 0.25})
    key = timing_key("abc", "Fake GPU", "onnxruntime 1.31", 1)
    assert store.read(key) is None
    store.write(key, timings)
    assert store.read(key) == timings
    assert store.read(timing_key("abc", "Fake GPU", "onnxruntime 1.32", 1)) is None
    next((tmp_path / "cache").rglob("*.json")).write_text("{")
    assert store.read(key) is None


def test_a_directory_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = TimingStore(tmp_path / "file")
    store.write("key", Timings({1: 1.0}, {1: 1.0}))
    assert store.read("key") is None

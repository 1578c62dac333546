"""A fake GPU for tests and dry runs: it computes on the CPU, and a cost model says how long that took.

``FakeGpuRuntime`` opens ``model.onnx`` and ``model.fake``. It is used only where a program registers it. What it shows
is whether the right device is chosen, and what happens when memory is short or the GPU fails; it says nothing of any
real GPU's speed.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from bookserve.errors import Failed
from bookserve.graph import Arrays, Graph
from bookserve.runtime.base import DEFAULT_GRAPH, Session
from bookserve.runtime.devices import DeviceConfig, DeviceLost, DeviceUnavailable, Gpu, OutOfMemory
from bookserve.runtime.registry import open_model_file


class FakeClock:
    """A clock that shows the time that a fake GPU would have needed, instead of what the run took."""

    def __init__(self, *, real: bool = True) -> None:
        """Without ``real`` only ``advance`` moves it."""
        self._real = real
        self._offset = 0.0

    def __call__(self) -> float:
        """Seconds since some moment."""
        return (time.perf_counter() if self._real else 0.0) + self._offset

    def advance(self, seconds: float) -> None:
        """Move it; a real clock also backwards."""
        self._offset += seconds


class FakeGpu:
    """One fake GPU: what its runs cost, how much fits into its memory, and whether it still works."""

    def __init__(
        self,
        name: str = "Fake GPU",
        *,
        start: float = 1e-3,
        per_row: float = 1e-5,
        max_rows: int = 0,
        memory: int = 0,
        fixed_start: float = 0.0,
    ) -> None:
        """A run takes ``start`` seconds and ``per_row`` for each row. More than ``max_rows`` rows (0: any number) do
        not fit into its ``memory``, in bytes, of which a graph takes the size of its file (0: any number fits). A run
        through buffers of fixed size starts in ``fixed_start`` seconds; 0: it has none."""
        self.name = name
        self.start, self.per_row, self.max_rows, self.memory = start, per_row, max_rows, memory
        self.fixed_start = fixed_start
        #: Bytes that graphs take now.
        self.used = 0
        #: Whether it has failed: every run is ``DeviceLost``.
        self.lost = False
        #: The rows of each run that succeeded, and of those through buffers of fixed size.
        self.runs: list[int] = []
        self.fixed_runs: list[int] = []


class FakeGpuSession:
    """A graph on a fake GPU; see ``Session``."""

    def __init__(self, session: Session, gpu: FakeGpu, device: str, clock: FakeClock) -> None:
        self._session, self._gpu, self._device, self._clock = session, gpu, device, clock

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``.

        Raises:
            OutOfMemory, DeviceLost: as the fake GPU is set.
        """
        if self._gpu.lost:
            raise DeviceLost(f"{self._device} has failed: CUDA failure 719: unspecified launch failure.")
        rows = max((len(array) for array in feeds.values() if array.ndim), default=1)
        if self._gpu.max_rows and rows > self._gpu.max_rows:
            raise OutOfMemory(f"the memory of {self._device} is too small: {rows} rows.", "Send fewer rows.")
        before = self._clock()
        outputs = self._session.run(feeds)
        self._clock.advance(self._gpu.start + self._gpu.per_row * rows - (self._clock() - before))
        self._gpu.runs.append(rows)
        return outputs


class FakeGpuRuntime:
    """Opens ONNX and fake models on fake GPUs; see ``GpuRuntime``."""

    name = "fake-gpu"
    model_file = "model.fake-gpu"
    devices: Collection[str] = ()
    version = "fake-gpu 1"

    def __init__(
        self, *gpus: FakeGpu, clock: FakeClock | None = None, problem: DeviceUnavailable | None = None
    ) -> None:
        """``problem`` is why none of them can be used."""
        self._gpus = gpus
        self.clock = clock or FakeClock()
        self.problem = problem

    def opens(self, path: Path) -> bool:
        """Whether it is an ONNX file or a fake model."""
        return path.suffix in (".onnx", ".fake")

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Never called: it has no device of its own but GPUs."""
        raise NotImplementedError

    def gpus(self) -> list[Gpu]:
        """See ``GpuRuntime.gpus``."""
        if self.problem:
            raise self.problem
        return [
            Gpu(f"cuda:{index}", gpu.name, gpu.memory, gpu.memory - gpu.used) for index, gpu in enumerate(self._gpus)
        ]

    def open_on_gpu(self, path: Path, graph: str, device: str, config: DeviceConfig, threads: int) -> FakeGpuSession:
        """See ``GpuRuntime.open_on_gpu``."""
        gpu = self._gpus[int(device.partition(":")[2])]
        size = path.stat().st_size
        limit = min(filter(None, (gpu.memory - gpu.used if gpu.memory else 0, config.gpu_memory)), default=size)
        if size > limit:
            raise OutOfMemory(f"the memory of {device} is too small: {path.name} needs {size} bytes.")
        session = FakeGpuSession(open_model_file(path, (graph,), threads=threads)[graph], gpu, device, self.clock)
        gpu.used += size
        weakref.finalize(session, _release, gpu, size)
        return session

    def open_fixed_sizes(
        self, path: Path, graph: Graph, sizes: Sequence[int], device: str, config: DeviceConfig, threads: int
    ) -> Session:
        """See ``FixedSizeRuntime.open_fixed_sizes``.

        Raises:
            Failed: the fake GPU has no such buffers.
        """
        gpu = self._gpus[int(device.partition(":")[2])]
        if not gpu.fixed_start:
            raise Failed(f"{device} records no graphs.")
        session = self.open_on_gpu(path, DEFAULT_GRAPH, device, config, threads)
        return _FixedSizes(session, gpu, self.clock, sizes)


class _FixedSizes:
    """The graph of a fake GPU through buffers of fixed size; see ``Session``."""

    def __init__(self, session: FakeGpuSession, gpu: FakeGpu, clock: FakeClock, sizes: Sequence[int]) -> None:
        self._session, self._gpu, self._clock, self._sizes = session, gpu, clock, sizes

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``."""
        rows = len(next(iter(feeds.values())))
        if rows not in self._sizes:
            raise Failed(f"there are no buffers for {rows} rows.")
        outputs = self._session.run(feeds)
        self._gpu.fixed_runs.append(self._gpu.runs.pop())
        self._clock.advance(self._gpu.fixed_start - self._gpu.start)
        return outputs


def dry_run() -> FakeGpuRuntime:
    """A runtime with one fake GPU that needs 0.2 ms to start: what ``bench/gpu.py --fake`` installs."""
    return FakeGpuRuntime(FakeGpu(start=2e-4, per_row=2e-6, memory=8 << 30, fixed_start=5e-5))


def _release(gpu: FakeGpu, size: int) -> None:
    gpu.used -= size

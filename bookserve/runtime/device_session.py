"""A graph that is open on a GPU and on the CPU: each batch runs where it is faster, and nothing is lost if a GPU fails.

A batch that does not fit into the GPU's memory is halved until it does, or until one row is left, which the CPU runs. A
GPU that fails is not used again: its batch, and all later ones, run on the CPU.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from bookserve.errors import Failed
from bookserve.graph import Arrays, Graph
from bookserve.runtime.base import Session
from bookserve.runtime.devices import CPU, DeviceLost, OutOfMemory
from bookserve.runtime.timing import Plan

#: Why a batch was not run on the GPU that was to run it.
NO_MEMORY, LOST, FAILED = "out_of_memory", "lost", "failed"

logger = logging.getLogger("bookserve")


class DeviceRuns(msgspec.Struct):
    """What one device has run of a graph."""

    runs: int = 0
    rows: int = 0
    seconds: float = 0.0

    def count(self, rows: int, seconds: float) -> None:
        """Add one run."""
        self.runs += 1
        self.rows += rows
        self.seconds += seconds


class DeviceSession:
    """A graph on a GPU, with the CPU beside it; see ``Session``."""

    def __init__(
        self,
        graph: Graph,
        gpu: Session,
        open_on_cpu: Callable[[], Session],
        device: str,
        plan: Plan,
        clock: Callable[[], float],
        where: str = "",
    ) -> None:
        """``device`` is the GPU's name. ``open_on_cpu`` is called when the CPU has to run something. ``where`` names
        the graph in the log."""
        self._batched = graph.batched and bool(graph.inputs)
        self._gpu: Session | None = gpu
        self._open_on_cpu = open_on_cpu
        self._cpu: Session | None = None
        self._opening = threading.Lock()
        self._clock = clock
        self._where = where or "a graph"
        self.device = device
        self.plan = plan
        #: By device, what has been run.
        self.counts = {CPU: DeviceRuns(), device: DeviceRuns()}
        from bookserve.runtime.replicas import ReplicaSession  # a machine without a GPU does not need it

        self._replicas = gpu if isinstance(gpu, ReplicaSession) else None
        if self._replicas:
            self._replicas.count = self._count_replica
        #: By reason, how often a batch was not run on the GPU that was to run it.
        self.fallbacks: Counter[str] = Counter()
        #: Why the GPU is not used any more; '' while it is.
        self.problem = ""
        #: Rows that the GPU has proved too small for; 0 if it never has.
        self._too_many = 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph where a batch of so many rows is faster; see ``Session.run``."""
        rows = len(next(iter(feeds.values()))) if self._batched else 1
        if self._gpu is None or not self.plan.on_gpu(rows):
            return self._run_on_cpu(feeds, rows)
        return self._run_on_gpu(self._gpu, feeds, rows)

    def run_on(self, device: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph on one of its devices, whatever the plan says, to compare them. Such runs are not counted.

        Raises:
            OutOfMemory, DeviceLost, Failed, InvalidInput: the run failed there.
        """
        session = self._cpu_session() if device == CPU or self._gpu is None else self._gpu
        return session.run(feeds)

    @property
    def gathers(self) -> bool:
        """Whether large batches run on the GPU, so that many requests should share one."""
        return self._gpu is not None and self.plan.on_gpu(256)

    def describe(self) -> dict[str, object]:
        """Where the graph runs, for people: the GPU, the smallest batch that it runs, and why it is not used."""
        gpu = ", ".join(self._replicas.devices) if self._replicas else self.device
        return {"gpu": gpu, "gpu_from_rows": self.plan.gpu_from, "problem": self.problem}

    def stop_using_gpu(self, reason: str, problem: str) -> None:
        """Run everything on the CPU from now on, and say so once."""
        self.fallbacks[reason] += 1
        if self._gpu is not None:
            self._gpu, self.problem = None, problem
            logger.warning("%s runs on the CPU from now on: %s", self._where, problem)

    def _run_on_cpu(self, feeds: Mapping[str, np.ndarray], rows: int) -> Arrays:
        session = self._cpu_session()
        start = self._clock()
        try:
            return session.run(feeds)
        finally:
            self.counts[CPU].count(rows, self._clock() - start)

    def _run_on_gpu(self, gpu: Session, feeds: Mapping[str, np.ndarray], rows: int) -> Arrays:
        if self._too_many and rows >= self._too_many:
            return self._run_halves(feeds, rows)
        start = self._clock()
        try:
            outputs = gpu.run(feeds)
        except OutOfMemory as error:
            self._note_too_many(rows, error)
            return self._run_halves(feeds, rows)
        except DeviceLost as error:
            self.stop_using_gpu(LOST, error.message)
            return self._run_on_cpu(feeds, rows)
        except Failed as error:
            # It may be the input's fault: then the CPU fails, too, and its error is the answer.
            outputs = self._run_on_cpu(feeds, rows)
            self.fallbacks[FAILED] += 1
            logger.warning("%s: a batch of %d rows failed on %s: %s", self._where, rows, self.device, error.message)
            return outputs
        if not self._replicas:
            self.counts[self.device].count(rows, self._clock() - start)
        return outputs

    def _count_replica(self, device: str, rows: int, seconds: float) -> None:
        self.counts.setdefault(device, DeviceRuns()).count(rows, seconds)

    def _note_too_many(self, rows: int, error: OutOfMemory) -> None:
        self.fallbacks[NO_MEMORY] += 1
        if not self._too_many:
            logger.warning("%s: %d rows are too many for %s: %s", self._where, rows, self.device, error.message)
        self._too_many = min(rows, self._too_many or rows)

    def _run_halves(self, feeds: Mapping[str, np.ndarray], rows: int) -> Arrays:
        if rows < 2 or not self._batched:
            return self._run_on_cpu(feeds, rows)
        half = rows // 2
        parts = [
            self.run({name: array[rows_of] for name, array in feeds.items()})
            for rows_of in (slice(0, half), slice(half, None))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _cpu_session(self) -> Session:
        with self._opening:
            if self._cpu is None:
                self._cpu = self._open_on_cpu()
            return self._cpu

"""Counts requests, runs and loads; ``exposition`` writes the counts in Prometheus's text format for ``/metrics``.

The worker processes of one server add up their counts with ``state`` and ``add``.

A server may have thousands of models. Those of ``NamedModels`` have values of their own; what is counted for the others
is added to one value with the model ``_other``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from bookserve.errors import BookserveError
from bookserve.runtime.device_session import DeviceRuns
from bookserve.runtime.devices import CPU, Gpu
from serve.observability.metric_family import Cells, Labels, MetricFamily
from serve.observability.named_models import OTHER, NamedModels
from serve.observability.statistics import Statistics

#: How many models have values of their own, unless told otherwise.
MODELS_SHOWN = 100

#: Bounds in seconds: from 0.1 ms for a small graph to the time of a long text.
_SECONDS_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_GRAPH_LABELS = ("model", "version", "graph")

#: TensorFlow Serving's names of how requests end, by bookserve's.
_STATUS_NAMES = {
    "ok": "OK",
    "invalid_input": "INVALID_ARGUMENT",
    "not_found": "NOT_FOUND",
    "not_ready": "UNAVAILABLE",
    "overloaded": "RESOURCE_EXHAUSTED",
    "failed": "INTERNAL",
    "cancelled": "CANCELLED",
}


class Metrics:
    """The metrics of one server. Several servers in one process have separate ones."""

    def __init__(self, counts: Path | None = None, models_shown: int = MODELS_SHOWN) -> None:
        """``counts`` is the directory through which the worker processes of one server share their counts.

        At most ``models_shown`` models have values of their own.
        """
        self._counts = counts
        self._models_shown = models_shown
        self._named = NamedModels(models_shown, counts and counts / "named")
        self.statistics = Statistics()

        def family(
            name: str, text: str, labels: Labels, bounds: tuple[float, ...] = (), gauge: bool = False
        ) -> MetricFamily:
            return MetricFamily(f"bookserve_{name}", text, labels, bounds, gauge, {})

        ends = "Requests answered, by how they ended."
        self._requests = family("requests", ends, (*_GRAPH_LABELS, "protocol", "code"))
        self._latency = family(
            "request_seconds",
            "Time from a checked request to its answer.",
            (*_GRAPH_LABELS, "protocol"),
            _SECONDS_BUCKETS,
        )
        self._queue = family(
            "queue_seconds", "Time that a request waited for its run.", _GRAPH_LABELS, _SECONDS_BUCKETS
        )
        self._batch_rows = family("batch_rows", "Rows run together.", _GRAPH_LABELS, _ROWS_BUCKETS)
        self._run_time = family("run_seconds", "Time of one run of a graph.", _GRAPH_LABELS, _SECONDS_BUCKETS)
        self._responses = family(
            "responses", "Answers sent, those included that no model had a part in.", ("protocol", "code")
        )
        self._connection_events = family(
            "grpc_connection_events",
            "Calls and connections that the builtin gRPC server refused or ended, or clients cancelled, by reason.",
            ("event", "reason"),
        )
        self._available = family("model_available", "1 while a version can be asked.", ("model", "version"), gauge=True)
        self._loads = family("loads", "Versions loaded, by how that ended.", ("model", "version", "code"))
        self._live = family("models", "Versions that can be asked, of all models.", (), gauge=True)
        self._cache = family(
            "model_cache_requests", "Requests for lazy models, by whether those were in memory.", ("result",)
        )
        self._evictions = family("model_cache_evictions", "Lazy models unloaded to make room for others.", ())
        self._cold_loads = family(
            "model_cache_load_seconds", "Time to load a lazy model for a request.", ("code",), _SECONDS_BUCKETS
        )
        self._memory = family("worker_resident_bytes", "Memory of each process of several.", ("worker",), gauge=True)
        #: What devices have run of the graphs that are on a GPU, and how often they did not.
        self._devices: dict[tuple[str, ...], tuple[Mapping[str, DeviceRuns], Mapping[str, int]]] = {}
        #: What was last read of them, by metric and label values.
        self._read: dict[tuple[str, Labels], float] = {}
        self._gpus: Callable[[], list[Gpu]] = list
        on_device = (*_GRAPH_LABELS, "device")
        self._of_device = (
            family("device_runs", "Runs of graphs, by device.", on_device),
            family("device_rows", "Rows run, by device.", on_device),
            family("device_seconds", "Time of runs, by device.", on_device),
        )
        self._fallbacks = family(
            "device_fallbacks", "Batches that did not run on their GPU, by reason.", (*_GRAPH_LABELS, "reason")
        )
        self._gpu_usable = family("gpu_usable", "1: a GPU can be used; 0: none can.", ("device",), gauge=True)
        self._gpu_memory = family("gpu_memory_bytes", "Memory of a GPU.", ("device", "state"), gauge=True)
        self._cpu = family("worker_cpu_seconds", "CPU time of each process of several.", ("worker",), gauge=True)
        self._families = (
            self._requests,
            self._latency,
            self._queue,
            self._batch_rows,
            self._run_time,
            self._responses,
            self._connection_events,
            self._available,
            self._loads,
            self._live,
            self._cache,
            self._evictions,
            self._cold_loads,
            self._memory,
            self._cpu,
            *self._of_device,
            self._fallbacks,
            self._gpu_usable,
            self._gpu_memory,
        )
        #: Those that count what models do. A model that does nothing may only be available, and have loads.
        self._of_traffic = (
            self._requests,
            self._latency,
            self._queue,
            self._batch_rows,
            self._run_time,
            *self._of_device,
            self._fallbacks,
        )

    def count_run(self, model: str, version: int, graph: str, rows: int, seconds: float) -> None:
        """Count one run of a graph on a batch of ``rows``."""
        labels = (model, str(version), graph)
        self._batch_rows.observe(labels, rows)
        self.statistics.count_run(model, version, graph, rows, seconds)
        self._run_time.observe(labels, seconds)

    def count_waits(self, model: str, version: int, graph: str, seconds: list[float]) -> None:
        """Record how long each request of a run had waited for it."""
        labels = (model, str(version), graph)
        for wait in seconds:
            self._queue.observe(labels, wait)
        self.statistics.count_waits(model, version, graph, seconds)

    def count_request(
        self, model: str, version: int, graph: str, seconds: float, code: str, protocol: str = ""
    ) -> None:
        """Count one request and how it ended: ``ok``, an error's code, or ``cancelled``."""
        labels = (model, str(version), graph, protocol)
        self._requests.count((*labels, code))
        self.statistics.count_request(model, version, graph, seconds, code == "ok")
        self._latency.observe(labels, seconds)

    def follow_devices(
        self, model: str, version: int, graph: str, runs: Mapping[str, DeviceRuns], fallbacks: Mapping[str, int]
    ) -> None:
        """Read what each device has run of a graph from ``runs``, and how often one did not from ``fallbacks``, when
        values are asked for. A graph that is not followed runs on the CPU only."""
        key = (model, str(version), graph)
        self._devices[key] = runs, fallbacks
        for read in [read for read in self._read if read[1][:3] == key]:
            del self._read[read]  # it was opened again, and counts from 0

    def follow_gpus(self, gpus: Callable[[], list[Gpu]]) -> None:
        """Read from ``gpus`` which GPUs can be used, and their memory, when values are asked for."""
        self._gpus = gpus

    def count_connection_event(self, event: str, reason: str) -> None:
        """Count a ``refusal``, ``reset``, ``goaway`` or ``cancelled`` of the gRPC server."""
        self._connection_events.count((event, reason))

    def count_response(self, protocol: str, code: str) -> None:
        """Count one response by its protocol and its status code."""
        self._responses.count((protocol, code))

    def count_load(self, model: str, version: int, available: bool) -> None:
        """Count one attempt to load a version."""
        self._loads.count((model, str(version), "ok" if available else "failed"))
        self._available.cells[model, str(version)] = [float(available)]

    def count_cache_request(self, hit: bool) -> None:
        """Count one request for a lazy model, and whether the model was in memory."""
        self._cache.count(("hit" if hit else "miss",))

    def count_eviction(self) -> None:
        """Count one lazy model that made room for another."""
        self._evictions.count(())

    def count_cold_load(self, seconds: float, code: str) -> None:
        """Count one load of a lazy model and how it ended: ``ok`` or ``failed``."""
        self._cold_loads.observe((code,), seconds)

    def forget_version(self, model: str, version: int) -> None:
        """Drop the counts of an unloaded version, so that a server that runs for years does not grow.

        Where it has no values of its own, its counts stay in those of all other models, which never decrease.
        """
        gone = (model, str(version))
        self._available.cells.pop(gone, None)
        for code in ("ok", "failed"):
            self._loads.cells.pop((*gone, code), None)
        if model in self._named or not self._named.full:
            for family in self._of_traffic:
                for labels in [labels for labels in list(family.cells) if labels[:2] == gone]:
                    family.cells.pop(labels, None)
        for key in [key for key in self._devices if key[:2] == gone]:
            del self._devices[key]
        for read in [read for read in self._read if read[1][:2] == gone]:
            del self._read[read]
        self.statistics.forget_version(model, version)

    def state(self) -> bytes:
        """All values, encoded for another process to ``add``."""
        return msgspec.json.encode({family.name: self._shown(family) for family in self._families})

    def add(self, state: bytes, gauges: bool = True) -> None:
        """Add the values of another process; without gauges if that process has ended."""
        for name, cells in msgspec.json.decode(state, type=dict[str, list[tuple[Labels, list[float]]]]).items():
            for family in self._families:
                if family.name == name and (gauges or not family.gauge):
                    family.add(cells)

    def expose(self) -> tuple[bytes, str]:
        """All metrics in Prometheus's text format, with those of other processes added, and the content type."""
        return self.exposition()()

    def exposition(self) -> Callable[[], tuple[bytes, str]]:
        """``expose`` in two steps: the values are taken now, and the function that is returned writes them.

        With many models this takes a tenth of a second, so a server lets a thread do it.
        """
        total = self._of_all_processes()
        families = [(family, total._shown(family)) for family in total._families]

        def write() -> tuple[bytes, str]:
            from serve.observability.exposition import write_metrics  # with Prometheus's library: for the first scrape

            return write_metrics(families, with_process=self._counts is None)

        return write

    def model_server_counts(self) -> bytes:
        """The requests of all protocols under TensorFlow Serving's name, in Prometheus's text format.

        Source: TensorFlow Serving's ``prometheus_exporter.cc`` and ``servables/tensorflow/util.cc``.
        """
        counts: dict[tuple[str, str], float] = {}
        for (model, _, _, _, code), cell in list(self._of_all_processes()._requests.cells.items()):
            key = model, _STATUS_NAMES.get(code, "UNKNOWN")
            counts[key] = counts.get(key, 0) + cell[0]
        lines = ["# TYPE :tensorflow:serving:request_count counter"]
        lines += [
            f':tensorflow:serving:request_count{{model_name="{model}",status="{status}"}} {int(count)}'
            for (model, status), count in sorted(counts.items())
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    def _bound_models(self) -> None:
        """Give free places among the named models; add the values of models without one to those of all others.

        A count that another thread makes at this very moment may be missed in the values of all others.
        """
        self._read_devices()
        self._live.cells[()] = [sum(cell[0] for cell in list(self._available.cells.values()))]
        traffic: dict[str, float] = {}
        for family in self._of_traffic:
            for labels, cell in list(family.cells.items()):
                if labels[0] not in self._named and labels[0] != OTHER:
                    requests = cell[0] if family is self._requests else 0
                    traffic[labels[0]] = traffic.get(labels[0], 0) + requests
        if not traffic:
            return
        self._named.add(traffic)
        for family in self._of_traffic:
            for labels in [labels for labels in list(family.cells) if labels[0] in traffic]:
                if labels[0] not in self._named:
                    shared = tuple(
                        value if name not in _GRAPH_LABELS else OTHER if name == "model" else ""
                        for name, value in zip(family.labels, labels, strict=True)
                    )
                    family.add([(shared, family.cells.pop(labels))])

    def _read_devices(self) -> None:
        """Bring the values of devices up to date. What ran of a graph that is on no GPU ran on the CPU."""
        for labels, times in list(self._run_time.cells.items()):
            if labels not in self._devices and labels[0] != OTHER:  # what was added to the others was read before
                rows = self._batch_rows.cells.get(labels, [0.0])
                for family, number in zip(self._of_device, (sum(times[:-1]), rows[-1], times[-1]), strict=True):
                    family.cells[*labels, CPU] = [number]
        for labels, (runs, fallbacks) in list(self._devices.items()):
            for device, of in list(runs.items()):
                for family, number in zip(self._of_device, (of.runs, of.rows, of.seconds), strict=True):
                    self._add_new(family, (*labels, device), number)
            for reason, count in list(fallbacks.items()):
                self._add_new(self._fallbacks, (*labels, reason), count)
        try:
            gpus = self._gpus()
        except BookserveError:  # the driver does not answer any more
            gpus = []
        self._gpu_usable.cells = {(gpu.device,): [1.0] for gpu in gpus} or {("none",): [0.0]}
        for gpu in gpus:
            self._gpu_memory.cells[gpu.device, "total"] = [float(gpu.total)]
            self._gpu_memory.cells[gpu.device, "used"] = [float(gpu.total - gpu.free)]

    def _add_new(self, family: MetricFamily, labels: Labels, number: float) -> None:
        """Add what has come to ``number`` since it was last read: the value may have been added to another since."""
        before = self._read.get((family.name, labels), 0.0)
        self._read[family.name, labels] = number
        family.add([(labels, [number - before])])

    def _shown(self, family: MetricFamily) -> Cells:
        """The values that others see: of models that do nothing, as many as there are free places."""
        cells = list(family.cells.items())
        if family is self._available or family is self._loads:
            models = self._named.shown(labels[0] for labels in list(self._available.cells))
            return [(labels, cell) for labels, cell in cells if labels[0] in models]
        return cells

    def _of_all_processes(self) -> Metrics:
        """These metrics, or the sum of those of all worker processes."""
        if self._counts is None:
            self._bound_models()
            return self
        self.share_now()
        total = Metrics(models_shown=self._models_shown)
        total._named = self._named
        for path in self._counts.glob("[0-9g]*"):
            with suppress(OSError, msgspec.DecodeError):  # another process is replacing or removing it
                total.add(path.read_bytes())
        return total

    async def share(self) -> None:
        """Share the counts with the other processes, every second, until cancelled."""
        while True:
            self.share_now()
            await asyncio.sleep(1)

    def share_now(self) -> None:
        """Write the counts to the file that the other processes read."""
        if self._counts is None:
            return
        import resource  # not on Windows, which has no worker processes either

        self._bound_models()
        worker = str(os.getpid())
        used = resource.getrusage(resource.RUSAGE_SELF)
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._memory.cells[(worker,)] = [float(pages * resource.getpagesize())]
        self._cpu.cells[(worker,)] = [used.ru_utime + used.ru_stime]
        with suppress(OSError):  # the directory was removed: the server is stopping
            (self._counts / f".{worker}").write_bytes(self.state())
            (self._counts / f".{worker}").rename(self._counts / worker)

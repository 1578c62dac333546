"""Metrics: what the engine counts, in Prometheus's words, served at ``/metrics``."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from serve.statistics import Statistics

#: Seconds, from a small graph's tenth of a millisecond to a long text.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_GRAPH = ("model", "version", "graph")


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, CPU time and open files of the process
        requests = Counter(
            "bookserve_requests",
            "Requests answered, by how they ended.",
            (*_GRAPH, "code"),
            registry=self._registry,
        )
        latency = Histogram(
            "bookserve_request_seconds",
            "Time from a checked request to its answer.",
            _GRAPH,
            buckets=_SECONDS,
            registry=self._registry,
        )
        batch_rows = Histogram(
            "bookserve_batch_rows", "Rows run together.", _GRAPH, buckets=_ROWS, registry=self._registry
        )
        run_time = Histogram(
            "bookserve_run_seconds", "Time of one run of a graph.", _GRAPH, buckets=_SECONDS, registry=self._registry
        )
        self._available = Gauge(
            "bookserve_model_available",
            "1 while a version can be asked.",
            ("model", "version"),
            registry=self._registry,
        )
        # Looking a child up by its labels costs more than counting does.
        self._requests = lru_cache(4096)(requests.labels)
        self._latency = lru_cache(1024)(latency.labels)
        self._batch_rows = lru_cache(1024)(batch_rows.labels)
        self._run_time = lru_cache(1024)(run_time.labels)

    def ran(self, model: str, version: int, graph: str, rows: int, seconds: float) -> None:
        """Count one run of a graph on a batch of ``rows``."""
        self.statistics.ran(model, version, graph, rows, seconds)
        self._batch_rows(model, version, graph).observe(rows)
        self._run_time(model, version, graph).observe(seconds)

    def answered(self, model: str, version: int, graph: str, seconds: float, code: str) -> None:
        """Count one request and how it ended: ``ok``, an error's code, or ``cancelled``."""
        self.statistics.answered(model, version, graph, seconds, code == "ok")
        self._requests(model, version, graph, code).inc()
        self._latency(model, version, graph).observe(seconds)

    def loaded(self, model: str, version: int, available: bool) -> None:
        """Note whether a version can be asked."""
        self._available.labels(model, version).set(available)

    def expose(self) -> tuple[bytes, str]:
        """All metrics in Prometheus's text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

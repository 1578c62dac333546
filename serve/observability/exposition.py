"""Writes metrics in Prometheus's text format, with Prometheus's library.

Nothing else imports that library, which takes 2 MB of memory: it is loaded for the first scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serve.observability.metric_family import Cells, MetricFamily


def write_metrics(families: Iterable[tuple[MetricFamily, Cells]], with_process: bool) -> tuple[bytes, str]:
    """The metrics with these values, and their content type.

    ``with_process`` adds memory, CPU time and open files of this process.
    """
    registry = CollectorRegistry()
    registry.register(_Families(families))
    if with_process:
        ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Families(Collector):
    """The collector interface of Prometheus's library."""

    def __init__(self, families: Iterable[tuple[MetricFamily, Cells]]) -> None:
        self._metrics = [_metric(family, cells) for family, cells in families]

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metric(family: MetricFamily, cells: Cells) -> Metric:
    """A metric with these values as an object of Prometheus's library."""
    metric: Any
    if family.bounds:
        metric = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, cell in cells:
            metric.add_metric(labels, list(_cumulated(family.bounds, cell)), cell[-1])
        return metric  # type: ignore[no-any-return]
    metric = (GaugeMetricFamily if family.gauge else CounterMetricFamily)(
        family.name, family.text, labels=family.labels
    )
    for labels, cell in cells:
        metric.add_metric(labels, cell[0])
    return metric  # type: ignore[no-any-return]


def _cumulated(bounds: Sequence[float], cell: Sequence[float]) -> Iterator[tuple[str, float]]:
    total = 0.0
    for bound, count in zip((*bounds, float("inf")), cell, strict=False):
        total += count
        yield "+Inf" if bound == float("inf") else str(float(bound)), total

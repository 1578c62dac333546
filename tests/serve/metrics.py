"""Reading ``/metrics`` with Prometheus's own parser."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


def requests(http: httpx.Client, name: str = "bookserve_requests_total", **labels: str) -> float:
    """The sum of a metric's samples that bear ``labels``; 0 where there are none."""
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return sum(
        sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )

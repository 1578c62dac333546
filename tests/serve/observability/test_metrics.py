"""What is counted, as Prometheus reads it."""

from __future__ import annotations

import httpx
import pytest

from serve.observability.metrics import Metrics
from tests.serve.metrics import requests


def test_requests_and_runs_are_counted_by_model_and_graph(http: httpx.Client) -> None:
    def counts() -> list[float]:
        return [
            requests(http, model="pair", version="1", graph="serving_default", code="ok"),
            requests(http, "bookserve_request_seconds_count", model="pair"),
            requests(http, "bookserve_batch_rows_count", model="pair"),
            requests(http, "bookserve_batch_rows_sum", model="pair"),
            requests(http, "bookserve_run_seconds_count", model="pair"),
        ]

    before = counts()
    rows = [{"a": [1, 2], "b": 5}] * 7
    assert http.post("/api/models/pair/predict", json={"rows": rows}).status_code == 200
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1, 1, 1, 7, 1]


def test_refused_requests_are_counted_by_code(http: httpx.Client) -> None:
    before = requests(http, model="pair", code="invalid_input")
    assert http.post("/api/models/pair/predict", json={"rows": ["x"]}).status_code == 400
    assert requests(http, model="pair", code="invalid_input") == before + 1


def test_live_models_and_the_process_are_seen(http: httpx.Client) -> None:
    assert requests(http, "bookserve_model_available", model="writer", version="1") == 1
    assert requests(http, "process_resident_memory_bytes") > 10_000_000


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.count_request("m", 1, "g", 0.01, "ok")
    assert b'model="m"' in one.expose()[0]
    assert b'model="m"' not in other.expose()[0]


@pytest.mark.parametrize(("seconds", "least"), [(0.0002, "0.00025"), (3.0, "5.0")])
def test_latencies_fall_into_their_buckets(seconds: float, least: str) -> None:
    metrics = Metrics()
    metrics.count_request("m", 1, "g", seconds, "ok")
    lines = metrics.expose()[0].decode().splitlines()
    ones = [line for line in lines if line.startswith("bookserve_request_seconds_bucket") and line.endswith(" 1.0")]
    assert f'le="{least}"' in ones[0]

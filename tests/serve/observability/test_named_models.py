"""The metrics of a server with thousands of models stay bounded, and no value of theirs ever decreases."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.observability.metrics import Metrics
from serve.observability.named_models import OTHER

Samples = dict[tuple[str, str], float]


def samples(metrics: Metrics) -> Samples:
    """The counters and the counts of histograms, by name and model, summed over other labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(metrics.expose()[0].decode()):
        for sample in family.samples:
            if sample.name.endswith(("_total", "_count", "_sum")):
                key = sample.name, sample.labels.get("model", "")
                found[key] = found.get(key, 0) + sample.value
    return found


def ask(metrics: Metrics, model: str, times: int = 1, seconds: float = 0.01) -> None:
    for _ in range(times):
        metrics.count_request(model, 1, "g", seconds, "ok", "tfs/http")
        metrics.count_waits(model, 1, "g", [seconds])
        metrics.count_run(model, 1, "g", 2, seconds)


def requests(metrics: Metrics) -> dict[str, float]:
    return {model: value for (name, model), value in samples(metrics).items() if name == "bookserve_requests_total"}


def test_those_with_most_requests_keep_their_labels_and_the_rest_is_one_sum() -> None:
    metrics = Metrics(models_shown=2)
    for number, model in enumerate(("cold", "warm", "hot", "mild")):
        ask(metrics, model, (1, 5, 9, 3)[number])
    assert requests(metrics) == {"hot": 9, "warm": 5, OTHER: 4}
    ask(metrics, "cold", 100)
    assert requests(metrics) == {"hot": 9, "warm": 5, OTHER: 104}
    assert samples(metrics)["bookserve_batch_rows_sum", OTHER] == 2 * 104
    assert samples(metrics)["bookserve_queue_seconds_count", OTHER] == 104
    assert f':tensorflow:serving:request_count{{model_name="{OTHER}",status="OK"}} 104' in (
        metrics.model_server_counts().decode()
    )


def test_free_places_are_taken_later_and_nothing_decreases() -> None:
    metrics = Metrics(models_shown=3)
    before: Samples = {}
    for step in range(40):
        ask(metrics, f"m{step * 7 % 10}", step % 3 + 1)
        if step % 9 == 4:
            metrics.forget_version(f"m{9 - step % 2}", 1)  # neither has a place
        now = samples(metrics)
        assert all(now[key] >= value for key, value in before.items())
        before = now
    assert sorted(requests(metrics)) == [OTHER, "m0", "m4", "m7"]
    assert sum(requests(metrics).values()) == sum(step % 3 + 1 for step in range(40))


def test_the_text_does_not_grow_with_the_models() -> None:
    sizes = []
    for count in (200, 2000):
        metrics = Metrics(models_shown=10)
        for number in range(count):
            metrics.count_load(f"m{number:04}", 1, True)
            ask(metrics, f"m{number:04}")
        sizes.append(len(metrics.expose()[0]))
        assert len(metrics.state()) < 60_000
        assert f"bookserve_models {count}.0\n".encode() in metrics.expose()[0]
    assert sizes[1] < sizes[0] + 500


def test_models_that_do_nothing_are_shown_while_there_are_places() -> None:
    metrics = Metrics(models_shown=3)
    for model in ("a", "b", "c", "d"):
        metrics.count_load(model, 1, True)

    def shown() -> list[str]:
        lines = metrics.expose()[0].decode().splitlines()
        return [line.split('"')[1] for line in lines if line.startswith("bookserve_model_available{")]

    assert shown() == ["a", "b", "c"]
    ask(metrics, "d")
    assert shown() == ["a", "b", "d"]


def test_a_forgotten_version_with_a_place_is_dropped() -> None:
    metrics = Metrics(models_shown=1)
    ask(metrics, "a")
    metrics.count_load("a", 1, True)
    metrics.expose()
    metrics.forget_version("a", 1)
    assert b'model="a"' not in metrics.expose()[0]


@pytest.mark.parametrize("shown", [0, 2])
def test_workers_show_the_same_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: int) -> None:
    workers = {pid: Metrics(tmp_path, shown) for pid in (1, 2)}

    def turn(pid: int) -> Metrics:
        monkeypatch.setattr("os.getpid", lambda: pid)
        return workers[pid]

    ask(turn(1), "a", 3)
    turn(1).share_now()
    for model in ("b", "a", "c"):
        ask(turn(2), model, 2)
    turn(2).share_now()
    ask(turn(1), "c", 10)
    seen = [requests(turn(pid)) for pid in (1, 2)]
    if shown:
        assert seen == [{"a": 5, "b": 2, OTHER: 12}] * 2
    else:
        assert seen == [{OTHER: 19}] * 2


def test_loads_hits_and_evictions_of_lazy_models_are_counted() -> None:
    metrics = Metrics()
    for hit in (True, True, False):
        metrics.count_cache_request(hit)
    metrics.count_eviction()
    metrics.count_cold_load(0.3, "ok")
    lines = metrics.expose()[0].decode().splitlines()
    assert 'bookserve_model_cache_requests_total{result="hit"} 2.0' in lines
    assert 'bookserve_model_cache_requests_total{result="miss"} 1.0' in lines
    assert "bookserve_model_cache_evictions_total 1.0" in lines
    assert 'bookserve_model_cache_load_seconds_count{code="ok"} 1.0' in lines

"""Prometheus scrapes a real server: every query of the dashboard returns data, and a real fault fires its alert."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.serve.deploy.tools import DEPLOY, program
from tests.serve.processes import until
from tests.servers import free_ports, start

BODY = {"instances": [[1, 2, 3]]}


def queries() -> list[str]:
    """Every query of the dashboard, as Grafana would send it for all servers."""
    board = json.loads((DEPLOY / "monitoring/dashboard.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [text.replace("$instance", ".*").replace("$__rate_interval", "15s") for text in found]


def test_the_dashboard_has_queries_and_no_variable_is_left() -> None:
    assert len(queries()) > 9
    assert not [text for text in queries() if "$" in text]


def test_the_compose_file_mounts_what_there_is_and_scrapes_its_own_server() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source == "../models" or (DEPLOY / source).exists(), f"{name}: {volume}"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    config = yaml.safe_load((DEPLOY / "monitoring/prometheus.yaml").read_text())
    targets = [one for scraped in config["scrape_configs"] for one in scraped["static_configs"]]
    assert [host.partition(":")[0] in services for one in targets for host in one["targets"]] == [True]
    source = yaml.safe_load((DEPLOY / "monitoring/datasource.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


@contextmanager
def prometheus(target: str, directory: Path) -> Iterator[httpx.Client]:
    """Prometheus with deploy/'s own configuration, but faster and of another server."""
    config = yaml.safe_load((DEPLOY / "monitoring/prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    # The same rules, whose waiting is shortened.
    rules = re.sub(r"\[(2m|5m|15m)\]", "[10s]", (DEPLOY / "monitoring/alerts.yaml").read_text())
    (directory / "alerts.yaml").write_text(re.sub(r"for: \d+m", "for: 1s", rules))
    port = free_ports(1)
    command = [program("prometheus"), f"--config.file={directory}/prometheus.yaml"]
    command += [f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http,
    ):
        try:
            yield http
        finally:
            process.terminate()
            process.wait(30)


def ask(http: httpx.Client, query: str) -> list[Any]:
    with suppress(httpx.TransportError):
        answer = http.get("/api/v1/query", params={"query": query})
        if answer.status_code == 200:
            found: list[Any] = answer.json()["data"]["result"]
            return found
        assert answer.status_code == 503, answer.text
    return []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("BOOKSERVE_TEST_DEPLOY"), reason="make test-deploy runs this")
def test_every_query_returns_data_and_a_stopped_server_is_noticed(models: Path, tmp_path: Path) -> None:
    with (
        start(models, "--lazy") as server,
        httpx.Client(base_url=server.http, trust_env=False, timeout=30) as client,
        prometheus(server.http.removeprefix("http://"), tmp_path) as http,
    ):

        def has_data(query: str) -> bool:
            for _ in range(5):
                assert client.post("/v1/models/affine:predict", json=BODY).status_code == 200
            found = ask(http, query)
            return bool(found) and all(series["value"][1] != "NaN" for series in found)

        for query in queries():
            until(lambda query=query: has_data(query))  # type: ignore[misc]
        assert ask(http, 'ALERTS{alertname="BookserveDown"}') == []
        server.process.send_signal(signal.SIGSTOP)  # it hangs: a scrape gets no answer
        try:
            until(lambda: bool(ask(http, 'ALERTS{alertname="BookserveDown", alertstate="firing"}')))
        finally:
            server.process.send_signal(signal.SIGCONT)

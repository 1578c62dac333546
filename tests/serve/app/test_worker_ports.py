"""Workers that can be reached one by one, and proxies that are believed who their clients are."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from tests.serve.processes import FREE, read, refused, started, until, workers
from tests.servers import GRPC_SERVERS, free_ports, start

pytestmark = pytest.mark.slow  # starts servers

WORKERS = 2
ROWS = {"rows": [[1, 2, 3]]}
PREDICT = "/api/models/affine/predict"


def listeners(pids: list[int], port: int) -> list[int]:
    """Those of the processes that listen on a port."""
    return [
        pid
        for pid in pids
        if any(
            each.status == psutil.CONN_LISTEN and each.laddr[1] == port
            for each in psutil.Process(pid).net_connections()
        )
    ]


def answers(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.post(f"{address}{PREDICT}", json=ROWS, trust_env=False, timeout=30).status_code == 200
    return False


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_each_worker_has_ports_of_its_own_which_its_successor_takes_over(models: Path, whose: str) -> None:
    base = free_ports(2 * WORKERS)
    grpc_base = base + WORKERS
    options = ("--worker-ports", str(base), "--worker-grpc-ports", str(grpc_base), "--grpc-server", whose)
    with start(models, "--workers", str(WORKERS), *options) as server:
        pids = workers(server.process)
        owners = [listeners(pids, base + number) for number in range(WORKERS)]
        assert sorted(owners) == [[pid] for pid in sorted(pids)]
        assert [listeners(pids, grpc_base + number) for number in range(WORKERS)] == owners
        assert answers(server.http)
        for number in range(WORKERS):
            assert answers(f"http://127.0.0.1:{base + number}")
            with grpc.insecure_channel(f"127.0.0.1:{grpc_base + number}", [("grpc.enable_http_proxy", 0)]) as channel:
                assert channel.unary_unary("/bookserve.v1.Bookserve/Models")(b"")
        os.kill(owners[1][0], signal.SIGKILL)
        until(lambda: owners[1][0] not in workers(server.process) and answers(f"http://127.0.0.1:{base + 1}"))
        assert listeners(workers(server.process), base) == owners[0]


def test_one_process_may_have_a_port_of_its_own_too(models: Path) -> None:
    base = free_ports(1)
    with start(models, "--worker-ports", str(base)) as server:
        assert answers(server.http)
        assert answers(f"http://127.0.0.1:{base}")


def test_ports_that_are_in_use_or_too_high_are_refused(models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused(str(models), *FREE, "--worker-ports", str(port))
    assert code
    assert f"cannot listen on 127.0.0.1:{port} for HTTP: it is in use" in said
    assert "--worker-ports" in said
    code, said = refused(str(models), *FREE, "--workers", "3", "--worker-grpc-ports", "65534")
    assert code
    assert "--worker-grpc-ports 65534 has no 3 ports up to 65535" in said


def test_proxies_must_be_named_before_they_are_believed(models: Path) -> None:
    assert "--trusted-proxies 10.0.0.0/8" in refused(str(models), *FREE, "--proxy-protocol")[1]
    assert "'me' is not an address or a network" in refused(str(models), *FREE, "--trusted-proxies", "me")[1]


@pytest.mark.parametrize(
    ("trusted", "client"), [((), "127.0.0.1"), (("--trusted-proxies", "127.0.0.0/8"), "192.0.2.1")]
)
def test_the_access_log_has_the_clients_address(models: Path, trusted: tuple[str, ...], client: str) -> None:
    with started(models, "--json", "--log-format", "json", "--access-log", *trusted) as process:
        url = f"{read(process)['http']}{PREDICT}"
        httpx.post(url, json=ROWS, headers={"x-forwarded-for": "192.0.2.1", "x-request-id": "one"}, trust_env=False)
        process.terminate()
        entries = [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines()]
    assert [entry["client"] for entry in entries if entry.get("request_id") == "one"] == [client]

"""Several processes on the same ports: who answers, what is counted, and what one's death costs."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.serve.metrics import requests
from tests.serve.processes import FREE, read, refused, started, until, wait_for, workers
from tests.serve.protocols.native.texts import events
from tests.servers import GRPC_SERVERS, Server, start

pytestmark = pytest.mark.slow  # starts servers

WORKERS = 3
ROWS = {"rows": [[1, 2, 3]]}
PREDICT = "/api/models/affine/predict"


@pytest.fixture
def server(models: Path) -> Iterator[Server]:
    with start(models, "--workers", str(WORKERS)) as running:
        yield running


def ask(server: Server) -> int:
    """Over a connection of its own, so that any worker may get it."""
    return httpx.post(f"{server.http}{PREDICT}", json=ROWS, trust_env=False, timeout=30).status_code


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_all_workers_answer_and_their_counts_add_up(models: Path, whose: str) -> None:
    with start(models, "--workers", str(WORKERS), "--grpc-server", whose) as server:
        all_answer(server)


def all_answer(server: Server) -> None:
    assert len(workers(server.process)) == WORKERS
    assert [ask(server) for _ in range(60)] == [200] * 60
    for _ in range(20):
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.grpc_target, options) as channel:
            assert channel.unary_unary("/bookserve.v1.Bookserve/Models")(b"")
    with httpx.Client(base_url=server.http, trust_env=False) as http:
        until(lambda: requests(http, model="affine", code="ok") == 60)
        until(lambda: requests(http, "bookserve_responses_total", protocol="api/grpc", code="OK") == 20)
        assert requests(http, "bookserve_request_seconds_count", model="affine") == 60
        assert requests(http, "bookserve_model_available", model="affine") == 1
        text = http.get("/metrics").text
        busy = [line for line in text.splitlines() if line.startswith("bookserve_worker_resident_bytes{")]
        assert len(busy) == WORKERS


def test_a_killed_worker_is_replaced_without_a_failed_readiness(server: Server) -> None:
    probes: list[int] = []
    done = threading.Event()

    def probe() -> None:
        while not done.is_set():
            try:
                probes.append(httpx.get(f"{server.http}/readyz", trust_env=False, timeout=30).status_code)
            except httpx.TransportError:
                probes.append(-1)
            time.sleep(0.02)

    prober = threading.Thread(target=probe)
    with httpx.Client(base_url=server.http, trust_env=False) as http:
        assert [ask(server) for _ in range(30)] == [200] * 30
        until(lambda: requests(http, model="affine", code="ok") == 30)
    prober.start()
    before = workers(server.process)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(workers(server.process)) == WORKERS and before[0] not in workers(server.process))
    time.sleep(2)  # the new one has loaded its models
    done.set()
    prober.join()
    assert set(probes) == {200}
    assert [ask(server) for _ in range(30)] == [200] * 30
    with httpx.Client(base_url=server.http, trust_env=False) as http:  # the dead one's counts are not lost
        until(lambda: requests(http, model="affine", code="ok") == 60)


def test_each_finishes_what_it_accepted_when_told_to_stop(models: Path) -> None:
    with started(models, "--json", "--workers", "2") as process:
        told = read(process)
        body = {"prompt": "a", "length": 10_000, "temperature": 1, "stream": True}
        url = f"{told['http']}/api/models/writer/generate"
        clients = [httpx.Client(trust_env=False, timeout=60) for _ in range(6)]
        streams = [client.stream("POST", url, json=body) for client in clients]
        running = [events(stream.__enter__()) for stream in streams]
        written = [len(next(stream)["text"]) for stream in running]
        children = workers(process)
        process.terminate()
        for first, stream in zip(written, running, strict=True):
            *pieces, last = stream
            assert last == {"done": True}
            assert first + sum(len(piece["text"]) for piece in pieces) == 10_000
        for stream, client in zip(streams, clients, strict=True):
            stream.__exit__(None, None, None)
            client.close()
        assert process.wait(30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_workers_end_with_the_process_that_started_them(models: Path) -> None:
    with started(models, "--json", "--workers", "2") as process:
        read(process)
        children = workers(process)
        process.kill()
        process.wait(30)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_what_keeps_one_worker_from_starting_is_told_once(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "affine", tmp_path / "affine")
    (tmp_path / "affine/1/model.onnx").write_bytes(b"broken")
    code, told = refused(str(tmp_path), *FREE, "--workers", "2")
    assert code == 1
    assert told.count("error:") == 1
    assert "model.onnx" in told


def test_a_port_that_a_single_server_has_is_refused(models: Path) -> None:
    with start(models) as taken:
        port = taken.http.rpartition(":")[2]
        code, told = refused(str(models), *FREE, "--http-port", port, "--workers", "2")
    assert code == 1
    assert "in use" in told


def test_every_worker_finds_new_versions(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "affine", tmp_path / "affine")
    with start(tmp_path, "--workers", "2", "--poll", "0.1") as server:
        shutil.copytree(models / "affine/1", tmp_path / ".new")
        (tmp_path / ".new").rename(tmp_path / "affine/2")

        def version() -> int:
            answer = httpx.post(f"{server.http}{PREDICT}", json=ROWS, trust_env=False, timeout=30)
            return int(answer.json()["version"])

        until(lambda: {version() for _ in range(20)} == {2})


def test_ctrl_c_at_a_terminal_is_heard_once(models: Path) -> None:
    with started(models, "--json", "--workers", "2") as process:
        read(process)
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping")
        assert process.wait(30) == 0

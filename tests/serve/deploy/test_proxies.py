"""The configurations of deploy/proxies: servers behind them are restarted one by one under load, and no request fails.

Tests whose program is missing are skipped; ``make test-deploy`` lets them fail instead.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import numpy as np
import pytest

from bookserve.api import oip_pb2
from tests.serve.deploy.tools import DEPLOY, program
from tests.serve.metrics import requests
from tests.serve.processes import until
from tests.servers import Server, free_ports, start

pytestmark = pytest.mark.slow  # starts servers

PREDICT = "/v1/models/affine:predict"
BODY = json.dumps({"instances": [[1, 2, 3]]}).encode()
ANSWER = {"predictions": [[3.0, 5.0, 7.0]]}
#: The ports that the configurations name: where the proxies listen, and HTTP and gRPC of both servers.
NAMED = (8080, 8090, 8501, 8500, 8601, 8600)


class Proxy(NamedTuple):
    """A proxy, its configuration, and the arguments with which it runs it in a directory."""

    program: str
    config: str
    arguments: Callable[[Path, Path], list[str]]
    #: The port for gRPC among ``NAMED``.
    grpc: int = 8090


def nginx(config: Path, directory: Path) -> list[str]:
    paths = "".join(
        f"{kind}_temp_path {directory / kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(config.read_text().replace("http {", f"http {{ {paths}", 1))
    settings = f"daemon off; master_process off; pid {directory}/pid; error_log stderr;"
    return ["-p", str(directory), "-c", str(config), "-e", "stderr", "-g", settings]


PROXIES = {
    "nginx": Proxy("nginx", "nginx.conf", nginx),
    "haproxy": Proxy("haproxy", "haproxy.cfg", lambda config, _: ["-db", "-f", str(config)]),
    "envoy": Proxy("envoy", "envoy.yaml", lambda config, _: ["-c", str(config), "--use-dynamic-base-id"], grpc=8080),
}


def is_ready(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=5).status_code == 200
    return False


@contextmanager
def running(name: str, ports: dict[int, int], directory: Path) -> Iterator[None]:
    """A proxy with its configuration, in which other ports are named."""
    proxy = PROXIES[name]
    found, config = program(proxy.program), directory / proxy.config
    text = (DEPLOY / "proxies" / proxy.config).read_text("utf-8")
    config.write_text(re.sub(r"\b\d{4}\b", lambda match: str(ports.get(int(match[0]), match[0])), text))
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen([found, *proxy.arguments(config, directory)], stdout=log, stderr=log) as process,
    ):
        try:
            until(lambda: process.poll() is not None or is_ready(ports[8080]))
            log.seek(0)
            assert process.poll() is None, log.read().decode(errors="replace")
            yield
        finally:
            process.terminate()
            process.wait(30)


class Load(threading.Thread):
    """Asks again and again until it is stopped."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._stop_asking = threading.Event()
        self.count = 0
        self.failures: list[object] = []

    def run(self) -> None:
        while not self._stop_asking.is_set():
            try:
                self._ask()
            except Exception as error:
                self.failures.append(error)
            self.count += 1

    def go_on(self, times: int) -> None:
        """Wait until it has asked so many times more."""
        end = self.count + times
        until(lambda: self.count > end)

    def finish(self) -> None:
        self._stop_asking.set()
        self.join(60)
        assert self.failures == []


def counted(server: Server, protocol: str) -> float:
    with httpx.Client(base_url=server.http, trust_env=False) as http:
        return requests(http, model="affine", code="ok", protocol=protocol)


@pytest.mark.parametrize("name", PROXIES)
def test_servers_are_restarted_one_by_one_and_no_request_fails(models: Path, tmp_path: Path, name: str) -> None:
    program(PROXIES[name].program)
    first = free_ports(len(NAMED))
    ports = {port: first + index for index, port in enumerate(NAMED)}
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])
    row = np.array([[1, 2, 3]], np.float32).tobytes()
    message = oip_pb2.ModelInferRequest(model_name="affine", inputs=[tensor], raw_input_contents=[row])

    def server(http_port: int, grpc_port: int) -> ExitStack:
        stack = ExitStack()
        options = ("--http-port", str(ports[http_port]), "--grpc-port", str(ports[grpc_port]))
        servers.append(stack.enter_context(start(models, *options, "--trusted-proxies", "127.0.0.1")))
        return stack

    servers: list[Server] = []
    one, two = server(8501, 8500), server(8601, 8600)
    with one, two, running(name, ports, tmp_path), httpx.Client(trust_env=False, timeout=30) as http:
        target = f"127.0.0.1:{ports[PROXIES[name].grpc]}"
        channel = grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)])
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            oip_pb2.ModelInferRequest.SerializeToString,
            oip_pb2.ModelInferResponse.FromString,
        )

        def ask_http() -> None:
            response = http.post(f"http://127.0.0.1:{ports[8080]}{PREDICT}", content=BODY)
            assert response.status_code == 200, response.text
            assert response.json() == ANSWER

        def ask_grpc() -> None:
            (content,) = infer(message, timeout=30).raw_output_contents
            assert np.frombuffer(content, np.float32).tolist() == [3.0, 5.0, 7.0]

        loads = [Load(ask_http), Load(ask_http), Load(ask_grpc)]
        for load in loads:
            load.start()
        until(lambda: min(load.count for load in loads) > 60)
        for protocol in ("tfs/http", "v2/grpc"):
            counts = [counted(each, protocol) for each in servers]
            assert min(counts) > 0.25 * sum(counts), f"{protocol}: {counts}"
        for stack, named in ((one, (8501, 8500)), (two, (8601, 8600))):
            stack.close()
            for load in loads:
                load.go_on(20)
            stack.enter_context(server(*named))
            until(lambda: counted(servers[-1], "tfs/http") > 10 and counted(servers[-1], "v2/grpc") > 0)
        for load in loads:
            load.finish()
        channel.close()


def test_the_alerts_fire_when_they_should() -> None:
    found = program("promtool")
    directory = DEPLOY / "monitoring"
    done = subprocess.run([found, "test", "rules", "alerts_test.yaml"], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    named = re.findall(r"alert: (\w+)", (directory / "alerts.yaml").read_text())
    tested = (directory / "alerts_test.yaml").read_text()
    assert [name for name in named if name not in tested] == []


def test_the_alerts_name_metrics_that_there_are(server: Server) -> None:
    rules = (DEPLOY / "monitoring/alerts.yaml").read_text()
    text = httpx.get(f"{server.http}/metrics", trust_env=False).text
    known = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    for name in set(re.findall(r"bookserve_\w+", rules)):
        assert name in known or re.sub("_(bucket|sum|count)$", "", name) in known, name

# ruff: noqa: TID253
"""Start each model server that is compared, and measure the CPU time and memory of its processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psutil
from wires import Wire, prepare, send

from bookserve.environment import TELEMETRY_OFF
from bookserve.graph import Arrays

ROOT = Path(__file__).parent.parent
#: Seconds that a server has to become ready, and to end.
START_SECONDS, END_SECONDS = 120, 8

ROWS = Wire("HTTP JSON", "rows", "/v1/models/{model}:predict")
TENSORS = Wire("HTTP JSON v2", "v2", "/v2/models/{model}/infer")
BINARY = Wire("HTTP binary", "binary", "/v2/models/{model}/infer")
GRPC = Wire("gRPC", "grpc", "/inference.GRPCInferenceService/ModelInfer")

#: bookserve, by the name of its row in the table: options of ``bookserve serve``, and the protocols that are measured.
OURS: dict[str, tuple[list[str], list[Wire]]] = {
    "bookserve": ([], [ROWS, TENSORS, BINARY, GRPC]),
    "bookserve, grpcio": (["--grpc-server", "grpcio"], [GRPC]),
    "bookserve, grpcio, 2 workers": (["--grpc-server", "grpcio", "--workers", "2"], [GRPC]),
    "bookserve, 2 workers": (["--workers", "2"], [ROWS, TENSORS, BINARY, GRPC]),
}
#: The other servers; each is a script in ``bench/peers``.
PEERS: dict[str, list[Wire]] = {
    "triton": [TENSORS, BINARY, GRPC],
    "mlserver": [TENSORS, GRPC],
    "litserve": [Wire("HTTP JSON", "rows", "/predict")],
    "bentoml": [Wire("HTTP JSON", "rows", "/predict")],
    "ray": [Wire("HTTP JSON", "rows", "/")],
}
#: Environment variables that only one of them needs.
EXTRA = {
    "triton": {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
}  # for the Python of its model's process


class StartError(Exception):
    """A server that did not start."""


class Running(NamedTuple):
    """A running server, and how many seconds its start took."""

    process: psutil.Process
    http: int
    grpc: int
    ready: float

    def port(self, wire: Wire) -> int:
        """The port that serves ``wire``."""
        return self.grpc if wire.body == "grpc" else self.http

    def cpu(self) -> float:
        """Seconds of CPU time that its processes have used so far."""
        return _total(self.process, lambda one: sum(one.cpu_times()[:2]))

    def memory(self) -> float:
        """Resident memory of its processes in MB."""
        return _total(self.process, lambda one: one.memory_info().rss / 1e6)


def wires_of(name: str) -> list[Wire]:
    """The protocols over which a server is measured."""
    return OURS[name][1] if name in OURS else PEERS[name]


def python_of(name: str) -> Path:
    """The interpreter that runs a server; the file does not exist where the server is not installed."""
    return Path(sys.executable) if name in OURS else ROOT / ".venv-peers" / name / "bin/python"


@contextlib.contextmanager
def start_server(name: str, models: Path, model: str, onnx: Path, row: Arrays, root: Path = ROOT) -> Iterator[Running]:
    """Run a server as a context manager; it is entered once the server has answered for ``row``.

    ``models`` is the directory that bookserve serves, ``onnx`` the file that the other servers load, ``root`` the
    checkout whose bookserve is run.

    Raises:
        StartError: it ended or did not answer in ``START_SECONDS`` seconds; the message ends with its log.
    """
    http_, grpc_ = free_port(), free_port()
    if name in OURS:
        command = ["-m", "bookserve", "serve", str(models), *OURS[name][0]]
        command += ["--http-port", str(http_), "--grpc-port", str(grpc_)]
    else:
        command = [f"{name}_.py"]
    variables = {"MODEL": str(onnx), "NAME": model, "HTTP_PORT": str(http_), "GRPC_PORT": str(grpc_)}
    if name in OURS:
        variables["PYTHONPATH"] = str(root)
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(python_of(name)), *command],
            cwd=root if name in OURS else ROOT / "bench/peers",
            env={**os.environ, **TELEMETRY_OFF, "OMP_NUM_THREADS": "1", **variables, **EXTRA.get(name, {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        running = Running(psutil.Process(process.pid), http_, grpc_, 0.0)
        try:
            _wait(process, running, wires_of(name)[0], model, row, log)
            yield running._replace(ready=time.perf_counter() - start)
        finally:
            processes = process_tree(running.process)
            process.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(processes, timeout=END_SECONDS)
            for process_left in alive:
                process_left.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], running: Running, wire: Wire, model: str, row: Arrays, log: Any) -> None:
    request, end = prepare(wire, running.port(wire), model, row), time.perf_counter() + START_SECONDS
    while process.poll() is None and time.perf_counter() < end:
        with contextlib.suppress(OSError, grpc.RpcError, http.client.HTTPException):
            send(wire, request)
            return
        time.sleep(0.05)
    log.seek(0)
    raise StartError(f"it did not start:\n{log.read().decode(errors='replace')[-3000:]}")


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and its children; empty where it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _total(process: psutil.Process, of: Any) -> float:
    total = 0.0
    for one in process_tree(process):
        with contextlib.suppress(psutil.Error):
            total += of(one)
    return total

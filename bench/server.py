# ruff: noqa: TID253
"""Server: how each model server is started and asked, its processes, and what they cost."""

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
from wires import Wire, ask, prepared

from bookserve.graph import Arrays

ROOT = Path(__file__).parent.parent
#: Seconds that a server has to be ready, and to end.
STARTED, ENDED = 120, 8

ROWS = Wire("HTTP JSON", "rows", "/v1/models/{model}:predict")
TENSORS = Wire("HTTP JSON v2", "v2", "/v2/models/{model}/infer")
BINARY = Wire("HTTP binary", "binary", "/v2/models/{model}/infer")
GRPC = Wire("gRPC", "grpc", "/inference.GRPCInferenceService/ModelInfer")

#: bookserve by the name of its row: options of ``bookserve serve``, and the wires that are measured.
OURS: dict[str, tuple[list[str], list[Wire]]] = {
    "bookserve": ([], [ROWS, TENSORS, BINARY, GRPC]),
    "bookserve, grpcio": (["--grpc-server", "grpcio"], [GRPC]),
    "bookserve, grpcio, 2 workers": (["--grpc-server", "grpcio", "--workers", "2"], [GRPC]),
    "bookserve, 2 workers": (["--workers", "2"], [ROWS, TENSORS, BINARY, GRPC]),
}
#: The others; each is a script in ``bench/peers``.
PEERS: dict[str, list[Wire]] = {
    "triton": [TENSORS, BINARY, GRPC],
    "mlserver": [TENSORS, GRPC],
    "litserve": [Wire("HTTP JSON", "rows", "/predict")],
    "bentoml": [Wire("HTTP JSON", "rows", "/predict")],
    "ray": [Wire("HTTP JSON", "rows", "/")],
}
#: Environment that one of them needs beside the others'.
EXTRA = {"triton": {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}}  # of the Python in its model's process


class StartError(Exception):
    """A server that did not come to answer."""


class Running(NamedTuple):
    """A server that answers, and how many seconds that took."""

    process: psutil.Process
    http: int
    grpc: int
    ready: float

    def port(self, wire: Wire) -> int:
        """Where it is asked over ``wire``."""
        return self.grpc if wire.body == "grpc" else self.http

    def cpu(self) -> float:
        """Seconds of CPU time that its processes have had."""
        return _total(self.process, lambda one: sum(one.cpu_times()[:2]))

    def memory(self) -> float:
        """Resident MB of its processes."""
        return _total(self.process, lambda one: one.memory_info().rss / 1e6)


def wires(name: str) -> list[Wire]:
    """Over what a server is asked."""
    return OURS[name][1] if name in OURS else PEERS[name]


def python(name: str) -> Path:
    """The interpreter that runs a server; not there where the server is not installed."""
    return Path(sys.executable) if name in OURS else ROOT / ".venv-peers" / name / "bin/python"


@contextlib.contextmanager
def started(name: str, models: Path, model: str, onnx: Path, row: Arrays) -> Iterator[Running]:
    """The running server, once it has answered for ``row``.

    ``models`` is bookserve's directory, ``onnx`` the file that the others serve.

    Raises:
        StartError: it ended or did not answer in ``STARTED`` seconds; the message ends with its log.
    """
    http_, grpc_ = free_port(), free_port()
    if name in OURS:
        command = ["-m", "bookserve", "serve", str(models), *OURS[name][0]]
        command += ["--http-port", str(http_), "--grpc-port", str(grpc_)]
    else:
        command = [f"{name}_.py"]
    told = {"MODEL": str(onnx), "NAME": model, "HTTP_PORT": str(http_), "GRPC_PORT": str(grpc_)}
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(python(name)), *command],
            cwd=ROOT if name in OURS else ROOT / "bench/peers",
            env={**os.environ, "OMP_NUM_THREADS": "1", **told, **EXTRA.get(name, {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        running = Running(psutil.Process(process.pid), http_, grpc_, 0.0)
        try:
            _wait(process, running, wires(name)[0], model, row, log)
            yield running._replace(ready=time.perf_counter() - begun)
        finally:
            family = tree(running.process)
            process.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=ENDED)
            for left in alive:
                left.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], running: Running, wire: Wire, model: str, row: Arrays, log: Any) -> None:
    request, end = prepared(wire, running.port(wire), model, row), time.perf_counter() + STARTED
    while process.poll() is None and time.perf_counter() < end:
        with contextlib.suppress(OSError, grpc.RpcError, http.client.HTTPException):
            ask(wire, request)
            return
        time.sleep(0.05)
    log.seek(0)
    raise StartError(f"it did not start:\n{log.read().decode(errors='replace')[-3000:]}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and its children; none where it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _total(process: psutil.Process, of: Any) -> float:
    total = 0.0
    for one in tree(process):
        with contextlib.suppress(psutil.Error):
            total += of(one)
    return total

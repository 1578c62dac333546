# ruff: noqa: T201 - a measurement that prints
"""Servers: bookserve beside other model servers, all with the same ONNX file and the same requests, in one run.

python bench/servers.py [--models demo/models] [--model mnist_convnet] [--servers bookserve,triton,mlserver]
                        [--rounds 3] [--seconds 3] [--save FILE.json]

The load comes from wrk (HTTP/1.1) and h2load (gRPC), which cost a fraction of what a server does. The load shares the
machine with the server, so the CPU time of a server's processes per request says more than requests a second. Before
each measurement ONNX Runtime alone runs the same rows in a loop: the ratio to it is what can be compared between
machines and days. Peers are installed by ``bench/peers/install.sh``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from wires import GRPC, Wire, load, requests

from bookserve import bundle
from bookserve.backend import OnnxBackend
from bookserve.graph import Arrays

HERE = Path(__file__).parent
ROOT = HERE.parent
#: By name: rows of a request, and how many requests are under way at once.
WORKLOADS = {"1 client": (1, 1), "16 clients": (1, 16), "64 clients": (1, 64), "batches of 32": (32, 4)}


class Server(NamedTuple):
    """A server: how it is started, and how it is asked."""

    name: str
    command: list[str]
    wires: list[Wire]


def servers(models: Path, model: str) -> list[Server]:
    """All that can be started, bookserve first."""
    json_, binary = Wire("HTTP JSON", "v2", f"/v2/models/{model}/infer"), f"/v2/models/{model}/infer"
    v2 = [json_, Wire("HTTP binary", "binary", binary), Wire("gRPC", "grpc", GRPC)]
    ours = [sys.executable, "-m", "bookserve", "serve", str(models)]
    rows = Wire("HTTP JSON", "rows", f"/v1/models/{model}:predict")
    found = [Server("bookserve", ours, [rows, *v2[1:]])]
    kinds = {
        "triton": v2,
        "mlserver": [v2[0], v2[2]],
        "litserve": [Wire("HTTP JSON", "rows", "/predict")],
        "bentoml": [Wire("HTTP JSON", "rows", "/predict")],
        "ray": [Wire("HTTP JSON", "rows", "/")],
    }
    for name, wires in kinds.items():
        python = ROOT / ".venv-peers" / name / "bin/python"
        if python.exists():
            found.append(Server(name, [str(python), f"{name}_.py"], wires))
    return found


@contextlib.contextmanager
def started(server: Server, model: str, onnx: Path, ready: dict[str, Any]) -> Iterator[tuple[psutil.Process, int, int]]:
    """The running server and its two ports; ``ready`` is a request that must be answered first."""
    http, grpc = free_port(), free_port()
    environment = {"MODEL": str(onnx), "NAME": model, "HTTP_PORT": str(http), "GRPC_PORT": str(grpc)}
    if server.name == "triton":  # its model's process must find the library of the Python that runs it
        import sysconfig

        environment["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    command = server.command
    if server.name == "bookserve":
        command = [*command, "--http-port", str(http), "--grpc-port", str(grpc)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT if server.name == "bookserve" else HERE / "peers",
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait(process, http, server.wires[0], ready, log)
            yield psutil.Process(process.pid), http, grpc
        finally:
            family = tree(psutil.Process(process.pid)) if process.poll() is None else []
            process.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=8)
            for left in alive:
                left.kill()
            process.wait()


def wait(process: subprocess.Popen[bytes], port: int, wire: Wire, ready: dict[str, Any], log: Any) -> None:
    """Until the first right answer."""
    body, headers = ready[wire.body]
    for _ in range(2400):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{wire.path}", body, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        time.sleep(0.05)
    log.seek(0)
    sys.exit(f"{process.args} did not start:\n{log.read().decode(errors='replace')[-3000:]}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and its children."""
    return [process, *process.children(recursive=True)]


def cpu(process: psutil.Process) -> float:
    """Seconds of CPU time that the processes of a server have had."""
    total = 0.0
    for one in tree(process):
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def memory(process: psutil.Process) -> float:
    """Resident MB of all processes of a server."""
    total = 0.0
    for one in tree(process):
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss / 1e6
    return total


def raw(backend: OnnxBackend, feeds: Arrays, seconds: float) -> float:
    """Rows a second of ONNX Runtime alone."""
    rows, runs, start = len(next(iter(feeds.values()))), 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        backend.run(feeds)
        runs += 1
    return runs * rows / (time.perf_counter() - start)


def measure(server: Server, arguments: argparse.Namespace, found: bundle.Bundle) -> Iterator[dict[str, Any]]:
    """One line for each wire and workload."""
    name, graph = found.graph()
    onnx = found.path / str(graph.onnx)
    backend = OnnxBackend(onnx)
    examples = found.examples().graphs[name].inputs
    feeds = {rows: {k: a[np.arange(rows) % len(a)] for k, a in examples.items()} for rows, _ in WORKLOADS.values()}
    bodies = {rows: requests(arguments.model, feeds[rows]) for rows in feeds}
    begun = time.perf_counter()
    with started(server, arguments.model, onnx, bodies[1]) as (process, http, grpc):
        ready, resident = time.perf_counter() - begun, memory(process)
        for wire in server.wires:
            port = grpc if wire.body == "grpc" else http
            for workload, (rows, clients) in WORKLOADS.items():
                load(port, wire, bodies[rows][wire.body], clients, 1)  # warm up
                rounds = []
                for _ in range(arguments.rounds):
                    alone = raw(backend, feeds[rows], 0.5)
                    before = cpu(process)
                    found_ = load(port, wire, bodies[rows][wire.body], clients, arguments.seconds)
                    spent = (cpu(process) - before) / max(1, found_["count"]) * 1e6
                    rounds.append(found_ | {"cpu": spent, "ratio": found_["rate"] * rows / alone})
                line = {key: statistics.median(part[key] for part in rounds) for key in rounds[0]}
                yield {
                    "server": server.name,
                    "wire": wire.name,
                    "workload": workload,
                    "requests/s": round(line["rate"]),
                    "p50 ms": round(line["p50"], 2),
                    "p99 ms": round(line["p99"], 2),
                    "CPU µs": round(line["cpu"]),
                    "to raw": round(line["ratio"], 3),
                    "errors": int(sum(part["errors"] for part in rounds)),
                    "ready s": round(ready, 2),
                    "MB": round(resident),
                }


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("demo/models"))
    parser.add_argument("--model", default="mnist_convnet")
    parser.add_argument("--servers", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if not shutil.which(tool):
            sys.exit(f"there is no {tool}: apt-get install {package}")
    found = bundle.find(arguments.models, arguments.model)
    wanted = arguments.servers.split(",") if arguments.servers else []
    chosen = [one for one in servers(arguments.models.resolve(), arguments.model) if one.name in (wanted or [one.name])]
    if missing := set(wanted) - {server.name for server in chosen}:
        sys.exit(f"not installed: {', '.join(sorted(missing))}; bench/peers/install.sh installs them")
    lines = []
    for server in chosen:
        for line in measure(server, arguments, found):
            if not lines:
                print("| " + " | ".join(line) + " |\n" + "|---" * len(line) + "|")
            print("| " + " | ".join(map(str, line.values())) + " |", flush=True)
            lines.append(line)
    if arguments.save:
        arguments.save.write_text(json.dumps({"model": arguments.model, "lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()

# ruff: noqa: T201, S607 - a measurement that prints, with tools found on the path
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
import re
import shutil
import signal
import socket
import statistics
import struct
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

from bookserve import bundle
from bookserve.backend import OnnxBackend
from bookserve.graph import Arrays
from clients.load import infer_request, rest_request

HERE = Path(__file__).parent
ROOT = HERE.parent
GRPC = "/inference.GRPCInferenceService/ModelInfer"
#: By name: rows of a request, and how many requests are under way at once.
WORKLOADS = {"1 client": (1, 1), "16 clients": (1, 16), "64 clients": (1, 64), "batches of 32": (32, 4)}


class Wire(NamedTuple):
    """How one server is asked: ``body`` names the kind of request, ``path`` where it goes."""

    name: str
    body: str
    path: str


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


def requests(model: str, feeds: Arrays) -> dict[str, tuple[bytes, dict[str, str]]]:
    """The body and headers of each kind of request."""
    rest = rest_request("", model, feeds).partition(b"\r\n\r\n")[2]
    (name, array), *_ = feeds.items()
    kind = {"f": "FP", "i": "INT", "u": "UINT"}[array.dtype.kind] + str(array.dtype.itemsize * 8)
    tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": kind}
    plain = json.dumps({"inputs": [tensor | {"data": array.ravel().tolist()}]}).encode()
    sized = tensor | {"parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
    message = infer_request(model, feeds)
    as_json = {"Content-Type": "application/json"}
    return {
        "rows": (rest, as_json),
        "v2": (plain, as_json),
        "binary": (
            head + array.tobytes(),
            {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))},
        ),
        "grpc": (struct.pack(">BI", 0, len(message)) + message, {"content-type": "application/grpc", "te": "trailers"}),
    }


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


def load(
    port: int, wire: Wire, request: tuple[bytes, dict[str, str]], clients: int, seconds: float
) -> dict[str, float]:
    """Requests a second and the latencies in ms of ``clients`` that each wait for their answer."""
    body, headers = request
    url = f"http://127.0.0.1:{port}{wire.path}"
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "body").write_bytes(body)
        given = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        if wire.body == "grpc":
            connections = {1: 1, 4: 4, 16: 4, 64: 8}[clients]
            log = Path(folder) / "log"
            command = ["h2load", "-t1", f"-c{connections}", f"-m{clients // connections}", f"-D{seconds:.0f}"]
            said = subprocess.run(
                [*command, "-d", str(path), *given, f"--log-file={log}", url],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            lines = [line.split("\t") for line in log.read_text().splitlines()]
            taken = sorted(int(line[2]) / 1000 for line in lines if line[1] == "200")
            # An error of gRPC is a status in the trailers: such an answer has no data.
            data = int(re.search(r"\((\d+)\) data", said)[1])  # type: ignore[index]
            refused = len(lines) - len(taken) if data > 5 * len(taken) else len(lines)
        else:
            script = Path(folder) / "post.lua"
            lua = f'local f = io.open("{path}", "rb"); wrk.body = f:read("*a"); f:close(); wrk.method = "POST"\n'
            lua += "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers.items())
            lua += "done = function(s, l, r) io.write(string.format('RESULT %d %d %d %d %d\\n', s.requests, "
            lua += "s.duration, s.errors.status + s.errors.read + s.errors.timeout, l:percentile(50), "
            lua += "l:percentile(99))) end\n"
            script.write_text(lua)
            said = subprocess.run(
                ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "-s", str(script), url],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            count, duration, errors, p50, p99 = map(int, re.search(r"RESULT (.*)", said)[1].split())  # type: ignore[index]
            return {
                "count": count,
                "rate": count / duration * 1e6,
                "errors": errors,
                "p50": p50 / 1e3,
                "p99": p99 / 1e3,
            }
    if not taken:
        sys.exit(f"no answer over {wire.name}:\n{said}")
    p50, p99 = (taken[int(len(taken) * share)] for share in (0.5, 0.99))
    return {"count": len(taken), "rate": len(taken) / seconds, "errors": refused, "p50": p50, "p99": p99}


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

# ruff: noqa: T201 - a measurement that prints
"""Measure what Ray Serve costs on the way to bookserve: CPU time of all server processes for one request, and latency.

python bench/scale/ray_serve_cost.py [--requests 2000] [--clients 4]  with a Python that has bookserve and ray[serve]

The same requests go to ``bookserve serve`` and to ``deploy/rayserve``, which has one replica and Ray Serve's own proxy.
Of the CPU time of Ray's processes what they use without requests is subtracted. Answers must be equal.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy")]
MODELS = ROOT / "pretrained"
PATH = "/v1/models/boston_housing:predict"
BODY = json.dumps({"instances": [[0.1, 12.5, 7, 0, 0.5, 6.2, 60, 4, 4, 300, 18, 390, 10]]})
#: Seconds without requests in which the processes' own needs are measured.
IDLE = 5.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processes(texts: tuple[str, ...]) -> list[int]:
    """Processes other than this one whose command line contains one of the texts."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if any(text in line for text in texts) and path.name != str(os.getpid()):
                found.append(int(path.name))
    return found


def cpu_seconds(texts: tuple[str, ...]) -> float:
    total = 0
    for pid in processes(texts):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def ask(port: int, count: int) -> tuple[list[float], bytes]:
    """Seconds of each of ``count`` requests over one connection, and the last answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds, content = [], b""
    for _ in range(count):
        began = time.perf_counter()
        connection.request("POST", PATH, BODY)
        response = connection.getresponse()
        content = response.read()
        seconds.append(time.perf_counter() - began)
        if response.status != 200:
            sys.exit(f"{response.status}: {content[:300]!r}")
    return seconds, content


def measure(name: str, port: int, texts: tuple[str, ...], requests: int, clients: int) -> bytes:
    """Print a row of the table; returns an answer."""
    _, answer = ask(port, 200)  # warm
    idle = cpu_seconds(texts)
    time.sleep(IDLE)
    idle = (cpu_seconds(texts) - idle) / IDLE
    before, began = cpu_seconds(texts), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = [one for one, _ in pool.map(lambda _: ask(port, requests // clients), range(clients))]
    took = time.perf_counter() - began
    used = (cpu_seconds(texts) - before - idle * took) / (requests // clients * clients)
    middle = statistics.median(second for one in found for second in one)
    print(f"| {name} | {used * 1e6:.0f} µs | {middle * 1e3:.1f} ms | {idle:.1%} of a core |", flush=True)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=4)
    arguments = parser.parse_args()
    print("| | CPU time of a request | median latency | without requests |\n|---|---|---|---|")
    command = [
        sys.executable,
        "-m",
        "bookserve",
        "serve",
        str(MODELS),
        "--json",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/") as process:
        try:
            port = int(json.loads(process.stdout.readline())["http"].rpartition(":")[2]) if process.stdout else 0
            ours = measure("`bookserve serve`", port, (str(MODELS),), arguments.requests * 5, arguments.clients)
        finally:
            process.terminate()
            process.wait(30)

    import ray
    from ray import serve as ray_serve

    from rayserve.app import build

    # On a busy machine Ray Serve's proxy needs longer than its 5 s to start.
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'deploy'}", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
    os.environ.update(environment)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", runtime_env={"env_vars": environment})
    try:
        port = free_port()
        ray_serve.start(http_options={"host": "127.0.0.1", "port": port})
        ray_serve.run(build({"models": str(MODELS)}), name="bookserve", route_prefix="/")
        texts = ("ray::", "raylet", "gcs_server", "site-packages/ray/")
        theirs = measure("`deploy/rayserve`", port, texts, arguments.requests, arguments.clients)
    finally:
        ray.shutdown()
    if ours != theirs:
        sys.exit(f"the answers differ: {ours!r}, {theirs!r}")


if __name__ == "__main__":
    main()

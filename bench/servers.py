# ruff: noqa: T201, TID253 - a measurement that prints
"""Compare bookserve with other model servers: the same ONNX files and the same requests, in one run.

python bench/servers.py [--models demo/models] [--model NAME ...] [--servers NAME ...] [--rounds 3] [--seconds 3]
                        [--save FILE.json]
python bench/servers.py --show FILE.json          print the tables of a saved run

The load comes from wrk (HTTP/1.1) and h2load (gRPC), which need a fraction of a server's CPU time. Load and server
share the machine, so the CPU time of a server's processes per request says more than requests a second. First, every
answer must equal that of ONNX Runtime. Before each measurement ONNX Runtime alone runs the same rows in a loop; the
ratio to it can be compared between machines and days. A server that fails is reported, and the next one is measured.
The other servers are installed by ``bench/peers/install.sh``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import machine
import numpy as np
from comparison import render
from server import OURS, PEERS, Running, StartError, python_of, start_server, wires_of
from wires import Wire, prepare, run_load, send

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from bookserve.runtime.onnx import OnnxSession

#: Models by default: pictures for a small convnet and for a dense network, sequences of ids for a recurrent network.
MODELS = ["mnist_convnet", "mnist_dense", "imdb_lstm"]
#: By name: rows in a request, and how many requests are under way at once.
WORKLOADS = {
    "1 client": (1, 1),
    "16 clients": (1, 16),
    "64 clients": (1, 64),
    "batches of 32": (32, 4),
    "batches of 128": (128, 4),
}
#: How far an answer may be from ONNX Runtime's: rows that run in one batch are summed in another order.
TOLERANCE = 1e-5


class WrongAnswerError(Exception):
    """An answer that differs from that of ONNX Runtime."""


class Subject:
    """One model: its ONNX file, and the rows of each workload."""

    def __init__(self, found: Bundle) -> None:
        name, graph = found.graph()
        if len(graph.inputs) > 1:
            sys.exit(f"{found.name} has {len(graph.inputs)} inputs; the peers' scripts serve models with one.")
        self.name, self.onnx = found.name, found.path / str(graph.onnx)
        self.backend = OnnxSession(self.onnx)
        examples = found.examples().graphs[name].inputs
        sizes = {rows for rows, _ in WORKLOADS.values()}
        self.feeds = {rows: {k: a[np.arange(rows) % len(a)] for k, a in examples.items()} for rows in sizes}

    def bare_rows_per_second(self, feeds: Arrays, seconds: float = 0.5) -> float:
        """Rows a second of ONNX Runtime alone."""
        rows, runs, start = len(next(iter(feeds.values()))), 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            self.backend.run(feeds)
            runs += 1
        return runs * rows / (time.perf_counter() - start)


def measure(name: str, subject: Subject, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one line for each protocol and workload of a server.

    Raises:
        StartError: it does not start.
        WrongAnswerError: its answer differs from that of ONNX Runtime.
        OSError, grpc.RpcError: it does not answer, or refuses.
    """
    with start_server(name, arguments.models, subject.name, subject.onnx, subject.feeds[1]) as running:
        memory = round(running.memory())
        for wire in wires_of(name):
            for workload in WORKLOADS:
                line: dict[str, Any] = {"model": subject.name, "server": name, "wire": wire.name, "workload": workload}
                line |= measure_under_load(running, wire, workload, subject, arguments)
                yield line | {"ready s": round(running.ready, 2), "MB": memory}


def measure_under_load(
    running: Running, wire: Wire, workload: str, subject: Subject, arguments: argparse.Namespace
) -> dict[str, float]:
    """The medians over the rounds, after a second of warm-up, and the errors of all rounds."""
    rows, clients = WORKLOADS[workload]
    feeds = subject.feeds[rows]
    request = prepare(wire, running.port(wire), subject.name, feeds)
    answer, size = send(wire, request)
    expected = next(iter(subject.backend.run(feeds).values()))
    if answer.shape != expected.shape or not np.allclose(answer, expected, rtol=0, atol=TOLERANCE):
        raise WrongAnswerError(f"{wire.name}, {workload}: {answer.tolist()} instead of {expected.tolist()}"[:2000])
    request = request._replace(answer=size)
    run_load(wire, request, clients, 1)
    rounds = []
    for _ in range(arguments.rounds):
        alone = subject.bare_rows_per_second(feeds)
        before = running.cpu()
        found = run_load(wire, request, clients, arguments.seconds)
        cpu = (running.cpu() - before) / found["count"] * 1e6
        rounds.append(found | {"cpu": cpu, "ratio": found["rate"] * rows / alone})
    line = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    return {
        "requests/s": round(line["rate"]),
        "p50 ms": round(line["p50"], 2),
        "p99 ms": round(line["p99"], 2),
        "CPU µs": round(line["cpu"]),
        "to raw": round(line["ratio"], 3),
        "errors": int(sum(one["errors"] for one in rounds)),
    }


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every model on every server; return what was measured and which servers failed."""
    run: dict[str, Any] = {**machine.describe(), "rounds": arguments.rounds, "seconds": arguments.seconds}
    run |= {"lines": [], "broken": []}
    try:
        subjects = [Subject(bundle.open_bundle(arguments.models, model)) for model in arguments.model]
    except BookserveError as error:
        sys.exit(f"error: {error}")
    for subject in subjects:
        for name in arguments.servers:
            try:
                for line in measure(name, subject, arguments):
                    print(" | ".join(map(str, line.values())), file=sys.stderr, flush=True)
                    run["lines"].append(line)
            except (StartError, WrongAnswerError, OSError, grpc.RpcError, subprocess.CalledProcessError) as error:
                run["broken"].append(f"{name}, {subject.name}: {error}")
                print(run["broken"][-1], file=sys.stderr, flush=True)
            if arguments.save:
                arguments.save.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return run


def main() -> None:
    """Measure, or read a saved run, and print it as Markdown. The exit code is 1 where a server failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    installed = [name for name in (*OURS, *PEERS) if python_of(name).exists()]
    parser.add_argument("--models", type=Path, default=Path("demo/models"))
    parser.add_argument("--model", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--servers", nargs="+", default=installed, choices=installed, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--show", type=Path)
    arguments = parser.parse_args()
    if arguments.show:
        print(render(json.loads(arguments.show.read_text("utf-8"))))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the running server is ended, too
    arguments.models = arguments.models.resolve()
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if not shutil.which(tool):
            sys.exit(f"there is no {tool}: apt-get install {package}")
    run = compare(arguments)
    print(render(run))
    if run["broken"]:
        sys.exit("\n".join(run["broken"]))


if __name__ == "__main__":
    main()

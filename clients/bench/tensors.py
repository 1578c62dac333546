"""Measure predictions, compared with ONNX Runtime alone: ``bookserve bench MODEL``.

The baseline is one ONNX Runtime session in a loop of this process; the server runs in its own process. Both get tensors
of the bundle's examples: the server over TensorFlow Serving's REST (JSON) and the Open Inference Protocol's gRPC,
with requests prepared beforehand. Each workload runs in several short turns, so that whatever else the machine does
falls on all alike. The load comes from the same machine: read the ratios, not the figures.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.cli.programs import python_command
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph
from bookserve.runtime import open_onnx
from clients.bench.load import Connect, Measurement, grpc_callers, http_callers, infer_request, load, rest_request

#: Number of turns that the time of each workload is divided into.
TURNS = 4
#: Number of rows in a large request.
LARGE = 32

#: The Open Inference Protocol's method over gRPC.
INFER = "/inference.GRPCInferenceService/ModelInfer"


class Workload:
    """One line of the report: a kind of request, and its measurements so far."""

    def __init__(self, name: str, rows: int, run: Callable[[float], Measurement]) -> None:
        """``run(seconds)`` sends requests with ``rows`` rows for that time."""
        self.name = name
        self.rows = rows
        self._run = run
        self._parts: list[Measurement] = []

    def turn(self, seconds: float) -> None:
        """Run once more."""
        self._parts.append(self._run(seconds))

    def forget(self) -> None:
        """Discard the measurements so far."""
        self._parts.clear()

    @property
    def samples(self) -> float:
        """Answered rows per second."""
        answered = sum(len(part.latencies) for part in self._parts)
        return answered * self.rows / sum(part.seconds for part in self._parts)

    def line(self, baseline: Workload) -> dict[str, Any]:
        """The measurements, and the ratio of samples per second to those of ``baseline``."""
        latencies = [latency * 1000 for part in self._parts for latency in part.latencies]
        p50, p99 = np.percentile(latencies, [50, 99]).tolist() if latencies else (None, None)
        return {
            "workload": self.name,
            "requests/s": round(self.samples / self.rows),
            "samples/s": round(self.samples),
            "p50 ms": p50 and round(p50, 3),
            "p99 ms": p99 and round(p99, 3),
            "ratio": round(self.samples / baseline.samples, 3),
            "errors": sum(part.errors for part in self._parts),
        }


def measure_tensors(
    model: str, models: Path, url: str | None, seconds: float, callers: list[int], device: str = "cpu"
) -> dict[str, Any]:
    """Measure the newest version of ``model`` and report ``model``, ``version``, ``graph`` and ``workloads``.

    ``device`` is that of ONNX Runtime alone, and of the server if one is started.

    Raises:
        NotFound, InvalidInput, Failed: the model cannot be run here or on the server.
        NotReady: there is no server at ``url``.
    """
    found = bundle.open_bundle(models, model)
    name, graph = found.graph()
    feeds = {rows: _feeds(found, name, graph, rows) for rows in (1, LARGE)}
    backend = open_onnx(found, name, device=device)
    baselines = {
        rows: Workload(f"raw, {_of(rows)}", rows, measure_loop(partial(backend.run, feeds[rows]))) for rows in feeds
    }
    with server_addresses(models, url, device) as served:
        workloads = list(baselines.values())
        for address in served:
            workloads += _served(address, model, feeds, callers)
        for workload in workloads:
            workload.turn(seconds / TURNS / 10)  # warm up
            workload.forget()
        for _ in range(TURNS):
            for workload in workloads:
                workload.turn(seconds / TURNS)
    lines = [workload.line(baselines[workload.rows]) for workload in workloads]
    return {"model": model, "version": found.version, "graph": name, "seconds": seconds, "workloads": lines}


def _served(address: str, model: str, feeds: dict[int, Arrays], callers: list[int]) -> Iterator[Workload]:
    """Workloads with single rows for each number of callers, and with large requests for the largest number."""
    parts = urlsplit(address)
    for count, rows in [*((count, 1) for count in callers), (max(callers), LARGE)]:
        if parts.scheme == "grpc":
            connect = grpc_callers(parts.netloc, INFER, infer_request(model, feeds[rows]))
        else:
            request = rest_request(parts.netloc, quote(model), feeds[rows])
            connect = http_callers(parts.hostname or "", parts.port or 80, request)
        name = f"{parts.scheme}, {_of(rows)}, {count} caller{'s' * (count > 1)}"
        yield Workload(name, rows, measure_callers(connect, count))


def measure_callers(connect: Connect, callers: int) -> Callable[[float], Measurement]:
    """A function that lets this number of callers send requests for some seconds."""
    return lambda seconds: asyncio.run(load(connect, callers, seconds))


def measure_loop(call: Callable[[], object]) -> Callable[[float], Measurement]:
    """A function that repeats ``call`` for some seconds, at least once."""

    def run(seconds: float) -> Measurement:
        latencies: list[float] = []
        start = begun = time.perf_counter()
        while not latencies or begun < start + seconds:
            call()
            ended = time.perf_counter()
            latencies.append(ended - begun)
            begun = ended
        return Measurement(latencies, 0, begun - start)

    return run


def _feeds(found: Bundle, name: str, graph: Graph, rows: int) -> Arrays:
    """The first ``rows`` rows of the bundle's examples, repeated if there are fewer."""
    if graph.onnx is None or not graph.batched:
        raise InvalidInput(f"graph '{name}' of '{found.name}' has no ONNX form with a batch axis to compare with.")
    examples = found.examples().graphs
    if name not in examples:
        raise Failed(f"the bundle of '{found.name}' holds no example of graph '{name}'.", "Export the model again.")
    return {key: array[np.arange(rows) % len(array)] for key, array in examples[name].inputs.items()}


def _of(rows: int) -> str:
    return f"{rows} row{'s' * (rows > 1)}"


@contextmanager
def server_addresses(models: Path, url: str | None, device: str = "cpu") -> Iterator[list[str]]:
    """The given address, or the addresses of a server that runs during this block."""
    if url:
        if urlsplit(url).scheme not in ("http", "grpc"):
            raise InvalidInput(f"'{url}' is not the address of a server.", "Use http://host:port or grpc://host:port.")
        yield [url]
        return
    ports = ("--http-port", "0", "--grpc-port", "0")
    command = python_command("bookserve", "serve", str(models), "--json", *ports, "--device", device)
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                process.wait()
                log.seek(0)
                raise Failed(f"the server did not start: {log.read().strip()}")
            started = json.loads(line)
            yield [started["http"], started["grpc"]]
        finally:
            process.terminate()
            process.communicate()

"""Measure text generation, compared with ONNX Runtime alone: ``bookserve bench generate MODEL``.

The baseline runs the step graph in a loop of this process: one character for each text per run, without sampling. The
server runs in its own process; a number of callers read streams from it, and the characters that arrive are counted.
The book's loop and Keras run in a third process, which needs TensorFlow. All are measured in turns.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.cli.programs import python_command
from bookserve.errors import Failed, NotFound
from bookserve.graph import numpy_dtype
from bookserve.runtime import open_onnx
from bookserve.verb import Generate
from clients.bench.tensors import TURNS, server_addresses
from clients.bench.text_streams import ConnectReader, ReadText, grpc_text_streams, http_text_streams

#: Number of characters of each text.
LENGTH = 5000


class TextMeasurement(NamedTuple):
    """The result of some seconds: number of characters, seconds to the first one of each text, duration."""

    characters: int
    firsts: list[float]
    seconds: float


class Workload:
    """One line of the report."""

    def __init__(self, name: str, streams: int, run: Callable[[float], TextMeasurement]) -> None:
        self.name = name
        self.streams = streams
        self._run = run
        self._parts: list[TextMeasurement] = []

    def turn(self, seconds: float, keep: bool = True) -> None:
        """Run once more; with ``keep`` the result is recorded."""
        part = self._run(seconds)
        if keep:
            self._parts.append(part)

    @property
    def rate(self) -> float:
        """Characters per second."""
        return sum(part.characters for part in self._parts) / sum(part.seconds for part in self._parts)

    def line(self, raw: float, book: float | None) -> dict[str, Any]:
        """The measurements, in relation to ONNX Runtime alone with as many texts, and to the book's loop."""
        firsts = [first * 1000 for part in self._parts for first in part.firsts]
        line: dict[str, Any] = {"workload": self.name, "texts": self.streams, "characters/s": round(self.rate)}
        if firsts:
            p50, p99 = np.percentile(firsts, [50, 99]).tolist()
            line |= {"first p50 ms": round(p50, 2), "first p99 ms": round(p99, 2)}
        line["of raw"] = round(self.rate / raw, 3)
        if book:
            line["× the book"] = round(self.rate / book)
        return line


def measure_texts(
    model: str,
    models: Path,
    url: str | None,
    seconds: float,
    streams: list[int],
    with_keras: bool,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure the newest version of ``model`` and report ``model``, ``version`` and ``workloads``.

    Raises:
        NotFound, InvalidInput, Failed: the model cannot be run here, on the server, or in Keras.
        NotReady: there is no server at ``url``.
    """
    found = bundle.open_bundle(models, model)
    verb = found.verb(Generate)
    keras: dict[str, Any] = {}
    if with_keras:
        keras = _keras(found, seconds)
    raw = {count: Workload("raw steps", count, _steps(found, verb, count, device)) for count in streams}
    with server_addresses(models, url, device) as served:
        workloads = list(raw.values())
        for address in served:
            scheme = urlsplit(address).scheme
            over = grpc_text_streams if scheme == "grpc" else http_text_streams
            for count in streams:
                stream = over(urlsplit(address).netloc, model, LENGTH)
                workloads.append(Workload(f"served over {scheme}", count, _callers(stream, count)))
        for workload in workloads:
            workload.turn(seconds / TURNS / 4, keep=False)
        for _ in range(TURNS):
            for workload in workloads:
                workload.turn(seconds / TURNS)
    book = keras.get("the book's loop")
    lines = [
        {
            "workload": name,
            "texts": 1,
            "characters/s": round(rate, 1),
            "of raw": round(rate / raw[streams[0]].rate, 5),
            "× the book": round(rate / book, 1) if book else None,
        }
        for name, rate in keras.items()
    ]
    lines += [workload.line(raw[workload.streams].rate, book) for workload in workloads]
    return {"model": model, "version": found.version, "seconds": seconds, "workloads": lines}


def _steps(found: Bundle, verb: Generate, count: int, device: str) -> Callable[[float], TextMeasurement]:
    name, graph = found.graph(verb.graph)
    if graph.onnx is None:
        raise Failed(f"graph '{verb.graph}' of '{found.name}' has no ONNX form.")
    backend = open_onnx(found, name, device=device)
    feeds = {
        name: np.zeros([count, *(abs(size) for size in spec.sizes()[1:])], numpy_dtype(spec.dtype))
        for name, spec in graph.inputs.items()
    }

    def run(seconds: float) -> TextMeasurement:
        runs, start = 0, time.perf_counter()
        while not runs or time.perf_counter() < start + seconds:
            backend.run(feeds)
            runs += 1
        return TextMeasurement(runs * count, [], time.perf_counter() - start)

    return run


def _callers(stream: ConnectReader, count: int) -> Callable[[float], TextMeasurement]:
    """A function that lets ``count`` callers read texts for some seconds, at least until a character has arrived."""

    async def work(seconds: float) -> TextMeasurement:
        async with AsyncExitStack() as connections:  # the measurement starts when all are connected
            return await _read([await connections.enter_async_context(stream()) for _ in range(count)], seconds)

    return lambda seconds: asyncio.run(work(seconds))


async def _read(callers: list[ReadText], seconds: float) -> TextMeasurement:
    firsts: list[float] = []
    characters = 0
    started = asyncio.Event()

    async def read(write: ReadText) -> None:
        nonlocal characters
        while True:
            begun, first = time.perf_counter(), True
            async for text in write():
                if first:
                    firsts.append(time.perf_counter() - begun)
                    first = False
                characters += len(text)
                started.set()

    start = time.perf_counter()
    reading = [asyncio.create_task(read(write)) for write in callers]
    done, _ = await asyncio.wait(reading, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    if not done and not started.is_set():
        first = asyncio.create_task(_wait(started))
        done, _ = await asyncio.wait([first, *reading], return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
    ended = time.perf_counter()
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for task in done:
        task.result()  # raises the error of a caller that failed
    return TextMeasurement(characters, firsts, ended - start)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _keras(found: Bundle, seconds: float) -> dict[str, Any]:
    """Characters per second of the book's loop and of Keras, measured by ``trainers`` in another process."""
    if not (found.path / "assets" / "model.keras").is_file():
        raise NotFound(f"the bundle of '{found.name}' has no Keras model.", "Leave --with-keras out.")
    command = python_command("trainers.cli.text_speed", str(found.path), "--seconds", str(seconds))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"Keras could not be measured: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    rates: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return rates

# ruff: noqa: TID253
"""Mischief: what a soak does to a server beside asking it – versions that come, go and are broken, workers that are
killed, clients that are slow, leave or send what is none; and how large the server grows meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import psutil
from book import Book
from callers import PATIENCE
from line import Line
from onnx import helper

from bookserve.graph import Graph, TensorSpec
from bookserve.steps import Numbers
from bookserve.verb import Predict
from tests.bundles import write_bundle

#: Whole versions that stay on disk.
KEPT = 2
PREDICT = "/v1/models/affine:predict"
ROWS = b'{"instances": [[1, 2, 3]]}'


def write_version(models: Path, scratch: Path, version: int, damage: str = "") -> None:
    """Let a version of ``affine`` appear as a whole: ``y = 2 x + version``, or one that cannot be served."""
    rows = {name: TensorSpec("float32", ("batch", 3)) for name in "xy"}
    graph = Graph(inputs={"x": rows["x"]}, outputs={"y": rows["y"]}, onnx="model.onnx")
    nodes = [helper.make_node("Mul", ["x", "two"], ["twice"]), helper.make_node("Add", ["twice", "more"], ["y"])]
    constants = {"two": np.array(2, np.float32), "more": np.array(version, np.float32)}
    example = {"serving_default": {"x": np.array([[0, 1, 2]], np.float32)}}
    verb = Predict(inputs={"x": (Numbers("float32", (3,)),)}, outputs={"y": ()})
    write_bundle(scratch / str(version), "affine", verb, {"serving_default": (graph, nodes, constants)}, example)
    made = scratch / str(version) / "affine/1"
    path = made / "model.onnx"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    elif damage == "garbage":
        path.write_bytes(bytes(path.stat().st_size))
    elif damage == "missing":
        path.unlink()
    elif damage == "manifest":
        (made / "bundle.json").write_bytes(b"{")
    made.rename(models / "affine" / str(version))


DAMAGES = ("cut", "garbage", "missing", "manifest")


async def swap(book: Book, models: Path, scratch: Path, seconds: float) -> None:
    """A new version every so many seconds; every third is broken, and old ones go."""
    version = 1
    while not book.over:
        await asyncio.sleep(seconds)
        version += 1
        damage = DAMAGES[version // 3 % len(DAMAGES)] if version % 3 == 0 else ""
        (book.broken if damage else book.good).add(version)
        await asyncio.to_thread(write_version, models, scratch, version, damage)
        for old in (*sorted(book.good)[:-KEPT], *(number for number in book.broken if number < version - 3)):
            path = models / "affine" / str(old)
            if path.exists():
                path.rename(scratch / f"old{old}")
                shutil.rmtree(scratch / f"old{old}")
                shutil.rmtree(scratch / str(old))


def workers(server: psutil.Process) -> list[psutil.Process]:
    """The processes that answer, the oldest first."""
    return sorted(server.children(), key=lambda child: child.create_time()) or [server]


async def kill(book: Book, server: psutil.Process, seconds: float) -> None:
    """kill -9 for a worker every so many seconds; the oldest is spared, so that its growth can be seen."""
    count = len(workers(server))
    while count > 1 and not book.over:
        await asyncio.sleep(seconds)
        if book.stopped < float("inf"):
            return
        if len(alive := workers(server)) == count:
            victim = alive[-1]
            victim.suspend()  # so that it accepts no more while its connections are listed
            ports = {one.raddr.port for one in victim.net_connections("tcp") if one.raddr}
            book.kills.append((time.perf_counter(), ports))
            victim.kill()


async def probe(book: Book, port: int) -> None:
    """Ask for readiness over a connection of its own ten times a second: one failure is one too many."""
    while not book.over:
        line = Line(port)
        try:
            status = await asyncio.wait_for(line.send("/readyz", b"", method="GET"), PATIENCE)
            if status == 200:
                book.answered["readyz"] += 1
            elif line.sent < book.stopped:
                book.wrong.append(f"readyz: {status}")
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            if line.sent < book.stopped and not book.killed(line.opened, line.port):
                book.lost.append(f"readyz: {error!r}")
            else:
                (book.resent if line.sent < book.stopped else book.refused)["readyz"] += 1
        line.close()
        await asyncio.sleep(0.1)


async def slow(book: Book, port: int) -> None:
    """Requests that come a byte at a time are answered like others."""
    while not book.over:
        line = Line(port)
        data = f"POST {PREDICT} HTTP/1.1\r\nhost: soak\r\ncontent-length: {len(ROWS)}\r\n\r\n".encode() + ROWS
        try:
            await line.open()
            assert line.writer  # noqa: S101
            for index in range(len(data)):
                line.writer.write(data[index : index + 1])
                await line.writer.drain()
                await asyncio.sleep(0.02)
            line.sent = time.perf_counter()
            if (status := await asyncio.wait_for(line.status(), PATIENCE)) == 200:
                answer = json.loads(b"".join([chunk async for chunk in line.chunks()]))
                book.check(np.array([[1, 2, 3]], np.float32), answer["predictions"])
                book.mischief["slow"] += 1
            else:
                book.wrong.append(f"slow: {status}")
        except (OSError, EOFError, TimeoutError) as error:
            if line.sent < book.stopped and not book.killed(line.opened, line.port):
                book.lost.append(f"slow: {error!r}")
        except Exception as error:
            book.wrong.append(f"slow: {error}")
        line.close()


async def leave(book: Book, port: int, draw: random.Random) -> None:
    """Clients that go in the middle of a request, while it runs, and in the middle of a stream."""
    texts = json.dumps({"prompt": "abc", "length": 10_000, "temperature": 0, "stream": True}).encode()
    while not book.over:
        line = Line(port)
        try:
            await line.open()
            assert line.writer and line.reader  # noqa: S101
            where = draw.choice(("head", "body", "answer", "stream"))
            if where == "stream":
                await line.send("/api/models/writer/generate", texts)
                await line.reader.read(10)
            else:
                head = f"POST {PREDICT} HTTP/1.1\r\nhost: soak\r\ncontent-length: {len(ROWS)}\r\n\r\n".encode()
                line.writer.write({"head": head[:30], "body": head + ROWS[:9], "answer": head + ROWS}[where])
            book.mischief[f"left in the {where}"] += 1
        except (OSError, EOFError):
            pass  # who leaves does not mind
        line.close()
        await asyncio.sleep(0.05)


_LYING = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 2**40}}
_LIE = json.dumps({"inputs": [_LYING]}).encode()
#: Requests that are none: the status they must get, and how they are sent.
NONE = {
    "half a document": (400, PREDICT, b'{"instances": [[1, 2', ""),
    "a wrong shape": (400, PREDICT, b'{"instances": [[1, 2]]}', ""),
    "no such model": (404, "/v1/models/none:predict", ROWS, ""),
    "lying lengths": (400, "/v2/models/affine/infer", _LIE, f"inference-header-content-length: {len(_LIE)}\r\n"),
    "deep nesting": (400, "/api/models/affine/predict", b'{"rows": ' + b"[" * 50_000, ""),
}


async def spoil(book: Book, http: int, rpc: int, draw: random.Random) -> None:
    """What is malformed or too large is refused, and costs nobody else anything."""
    while not book.over:
        line, begun = Line(http), time.perf_counter()
        what = draw.choice((*NONE, "too large", "no HTTP", "no message"))
        try:
            if what == "no message":
                await _no_message(rpc)
            else:
                expected = await asyncio.wait_for(_spoilt(line, what), PATIENCE)
                if expected:
                    book.wrong.append(f"{what}: {expected}")
            book.mischief[what] += 1
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            ended = book.killed(begun) if what == "no message" else book.killed(line.opened, line.port)
            if time.perf_counter() < book.stopped and not ended:
                book.lost.append(f"{what}: {error!r}")
        line.close()
        await asyncio.sleep(0.05)


async def _spoilt(line: Line, what: str) -> str:
    if what in NONE:
        wanted, path, body, headers = NONE[what]
        status = await line.send(path, body, headers)
    else:
        wanted = 413 if what == "too large" else 400
        await line.open()
        assert line.writer  # noqa: S101
        large = f"POST {PREDICT} HTTP/1.1\r\nhost: soak\r\ncontent-length: 1000000000\r\n\r\n"
        line.writer.write(large.encode() if what == "too large" else b"\x16\x03\x01 no such thing\r\n\r\n")
        status = await line.status()
    return "" if status == wanted else f"got {status}, not {wanted}"


async def _no_message(rpc: int) -> None:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc}", options) as channel:
        try:
            await channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff\xff")
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                raise OSError(str(error)) from error


class Sample(NamedTuple):
    """How large a server is at a moment: the oldest of its workers, and all processes together."""

    seconds: float
    mib: float
    files: int
    threads: int
    processes: int
    all_mib: float


async def measure(book: Book, server: psutil.Process, samples: list[Sample]) -> None:
    """Look every second."""
    start, elder = time.perf_counter(), workers(server)[0]
    while time.perf_counter() < book.stopped and not book.over:
        try:
            together = {server, *workers(server)}
            total = sum(process.memory_info().rss for process in together) / 2**20
            mib = elder.memory_info().rss / 2**20
            seconds = time.perf_counter() - start
            samples.append(Sample(seconds, mib, elder.num_fds(), elder.num_threads(), len(together), total))
        except psutil.NoSuchProcess:
            pass  # one was killed just now
        await asyncio.sleep(1)


def stop(book: Book, server: psutil.Process) -> None:
    """SIGTERM, in full load."""
    book.stopped = time.perf_counter()
    os.kill(server.pid, signal.SIGTERM)

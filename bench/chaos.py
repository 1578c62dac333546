# ruff: noqa: TID253
"""What a soak does to a server on purpose, beside sending it requests.

Versions appear, vanish and are broken; workers are killed; clients are slow, disconnect, or send malformed requests.
Meanwhile the size of the server is measured.
"""

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
from callers import TIMEOUT
from http_client import HttpClient
from ledger import Ledger
from onnx import helper

from bookserve.graph import Graph, TensorSpec
from bookserve.steps import Numbers
from bookserve.verb import Predict
from tests.bundles import write_bundle

#: How many whole versions stay on disk.
KEPT_VERSIONS = 2
PREDICT = "/v1/models/affine:predict"
ROWS = b'{"instances": [[1, 2, 3]]}'


def write_version(models: Path, scratch: Path, version: int, damage: str = "") -> None:
    """Publish a version of ``affine`` (``y = 2 x + version``); ``damage`` makes one that cannot be served."""
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


async def publish_versions(ledger: Ledger, models: Path, scratch: Path, seconds: float) -> None:
    """Publish a new version every ``seconds``; every third one is broken, and old ones are removed."""
    version = 1
    while not ledger.over:
        await asyncio.sleep(seconds)
        version += 1
        damage = DAMAGES[version // 3 % len(DAMAGES)] if version % 3 == 0 else ""
        (ledger.broken_versions if damage else ledger.whole_versions).add(version)
        await asyncio.to_thread(write_version, models, scratch, version, damage)
        for old in (
            *sorted(ledger.whole_versions)[:-KEPT_VERSIONS],
            *(number for number in ledger.broken_versions if number < version - 3),
        ):
            path = models / "affine" / str(old)
            if path.exists():
                path.rename(scratch / f"old{old}")
                shutil.rmtree(scratch / f"old{old}")
                shutil.rmtree(scratch / str(old))


def worker_processes(server: psutil.Process) -> list[psutil.Process]:
    """The processes that answer requests, the oldest first."""
    return sorted(server.children(), key=lambda child: child.create_time()) or [server]


async def kill_workers(ledger: Ledger, server: psutil.Process, seconds: float) -> None:
    """Send SIGKILL to a worker every ``seconds``; the oldest is spared, so that its growth can be measured."""
    count = len(worker_processes(server))
    while count > 1 and not ledger.over:
        await asyncio.sleep(seconds)
        if ledger.stopped < float("inf"):
            return
        if len(alive := worker_processes(server)) == count:
            victim = alive[-1]
            victim.suspend()  # so that it accepts no more while its connections are listed
            ports = {one.raddr.port for one in victim.net_connections("tcp") if one.raddr}
            ledger.kills.append((time.perf_counter(), ports))
            victim.kill()


async def probe_readiness(ledger: Ledger, port: int) -> None:
    """Request ``/readyz`` ten times a second, each time over a new connection; no request may fail."""
    while not ledger.over:
        client = HttpClient(port)
        try:
            status = await asyncio.wait_for(client.send("/readyz", b"", method="GET"), TIMEOUT)
            if status == 200:
                ledger.answered["readyz"] += 1
            elif time.perf_counter() < ledger.stopped:
                ledger.wrong.append(f"readyz: {status}")
            else:  # sent before the signal perhaps, and read after it: then 503 is the right answer
                ledger.refused["readyz"] += 1
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            if client.sent < ledger.stopped and not ledger.ended_by_kill(client.opened, client.port):
                ledger.lost.append(f"readyz: {error!r}")
            else:
                (ledger.resent if client.sent < ledger.stopped else ledger.refused)["readyz"] += 1
        client.close()
        await asyncio.sleep(0.1)


async def send_slowly(ledger: Ledger, port: int) -> None:
    """Send requests one byte at a time; they must be answered like others."""
    while not ledger.over:
        client = HttpClient(port)
        data = f"POST {PREDICT} HTTP/1.1\r\nhost: soak\r\ncontent-length: {len(ROWS)}\r\n\r\n".encode() + ROWS
        try:
            await client.open()
            assert client.writer  # noqa: S101
            for index in range(len(data)):
                client.writer.write(data[index : index + 1])
                await client.writer.drain()
                await asyncio.sleep(0.02)
            client.sent = time.perf_counter()
            if (status := await asyncio.wait_for(client.read_status(), TIMEOUT)) == 200:
                answer = json.loads(b"".join([chunk async for chunk in client.body_chunks()]))
                ledger.check_answer(np.array([[1, 2, 3]], np.float32), answer["predictions"])
                ledger.chaos["slow"] += 1
            else:
                ledger.wrong.append(f"slow: {status}")
        except (OSError, EOFError, TimeoutError) as error:
            if client.sent < ledger.stopped and not ledger.ended_by_kill(client.opened, client.port):
                ledger.lost.append(f"slow: {error!r}")
        except Exception as error:
            ledger.wrong.append(f"slow: {error}")
        client.close()


async def disconnect_early(ledger: Ledger, port: int, draw: random.Random) -> None:
    """Disconnect in the middle of a request, while it runs, or in the middle of a stream."""
    texts = json.dumps({"prompt": "abc", "length": 10_000, "temperature": 0, "stream": True}).encode()
    while not ledger.over:
        client = HttpClient(port)
        try:
            await client.open()
            assert client.writer and client.reader  # noqa: S101
            where = draw.choice(("head", "body", "answer", "stream"))
            if where == "stream":
                await client.send("/api/models/writer/generate", texts)
                await client.reader.read(10)
            else:
                head = f"POST {PREDICT} HTTP/1.1\r\nhost: soak\r\ncontent-length: {len(ROWS)}\r\n\r\n".encode()
                client.writer.write({"head": head[:30], "body": head + ROWS[:9], "answer": head + ROWS}[where])
            ledger.chaos[f"left in the {where}"] += 1
        except (OSError, EOFError):
            pass  # this client disconnects anyway
        client.close()
        await asyncio.sleep(0.05)


_WRONG_SIZE_TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 2**40}}
_WRONG_SIZE = json.dumps({"inputs": [_WRONG_SIZE_TENSOR]}).encode()
#: Malformed requests: the status they must get, the path, the body and further headers.
MALFORMED = {
    "half a document": (400, PREDICT, b'{"instances": [[1, 2', ""),
    "a wrong shape": (400, PREDICT, b'{"instances": [[1, 2]]}', ""),
    "no such model": (404, "/v1/models/none:predict", ROWS, ""),
    "wrong lengths": (
        400,
        "/v2/models/affine/infer",
        _WRONG_SIZE,
        f"inference-header-content-length: {len(_WRONG_SIZE)}\r\n",
    ),
    "deep nesting": (400, "/api/models/affine/predict", b'{"rows": ' + b"[" * 50_000, ""),
}


async def send_malformed(ledger: Ledger, http_port: int, grpc_port: int, draw: random.Random) -> None:
    """Send what is malformed or too large; it must be refused with the right status."""
    while not ledger.over:
        client, begun = HttpClient(http_port), time.perf_counter()
        what = draw.choice((*MALFORMED, "too large", "not HTTP", "not a message"))
        try:
            if what == "not a message":
                await _send_invalid_message(grpc_port)
            else:
                expected = await asyncio.wait_for(_send_and_compare(client, what), TIMEOUT)
                if expected:
                    ledger.wrong.append(f"{what}: {expected}")
            ledger.chaos[what] += 1
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            killed = (
                ledger.ended_by_kill(begun)
                if what == "not a message"
                else ledger.ended_by_kill(client.opened, client.port)
            )
            if time.perf_counter() < ledger.stopped and not killed:
                ledger.lost.append(f"{what}: {error!r}")
        client.close()
        await asyncio.sleep(0.05)


async def _send_and_compare(client: HttpClient, what: str) -> str:
    if what in MALFORMED:
        wanted, path, body, headers = MALFORMED[what]
        status = await client.send(path, body, headers)
    else:
        wanted = 413 if what == "too large" else 400
        await client.open()
        assert client.writer  # noqa: S101
        large = f"POST {PREDICT} HTTP/1.1\r\nhost: soak\r\ncontent-length: 1000000000\r\n\r\n"
        client.writer.write(large.encode() if what == "too large" else b"\x16\x03\x01 no such thing\r\n\r\n")
        status = await client.read_status()
    return "" if status == wanted else f"got {status}, not {wanted}"


async def _send_invalid_message(grpc_port: int) -> None:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options) as channel:
        try:
            await channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff\xff")
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                raise OSError(str(error)) from error


class Sample(NamedTuple):
    """The size of a server at one moment: of its oldest worker, and of all its processes together."""

    seconds: float
    mib: float
    files: int
    threads: int
    processes: int
    all_mib: float


async def sample_size(ledger: Ledger, server: psutil.Process, samples: list[Sample]) -> None:
    """Append a sample every second."""
    start, oldest = time.perf_counter(), worker_processes(server)[0]
    while time.perf_counter() < ledger.stopped and not ledger.over:
        try:
            together = {server, *worker_processes(server)}
            total = sum(process.memory_info().rss for process in together) / 2**20
            mib = oldest.memory_info().rss / 2**20
            seconds = time.perf_counter() - start
            samples.append(Sample(seconds, mib, oldest.num_fds(), oldest.num_threads(), len(together), total))
        except psutil.NoSuchProcess:
            pass  # a worker was killed just now
        await asyncio.sleep(1)


def send_sigterm(ledger: Ledger, server: psutil.Process) -> None:
    """Send SIGTERM while all clients are active."""
    ledger.stopped = time.perf_counter()
    os.kill(server.pid, signal.SIGTERM)

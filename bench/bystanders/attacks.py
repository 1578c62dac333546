# ruff: noqa: T201, TID253 - a measurement that prints
"""Measure how long other clients wait while one client attacks the gRPC server.

python bench/bystanders/attacks.py [--seconds 10] [--attacks NAME ...] [--save FILE.json] [-- OPTIONS of serve]

Each attack is sent by one process as fast as the server reads it; when the server ends the connection, the attacker
connects again. Meanwhile two other processes send a gRPC call and a request for ``/healthz`` again and again. The exit
code is 1 where the 99th percentile of one of them is above ``LONGEST`` seconds. The first row has no attack: it shows
what the machine itself does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import grpc
import hpack
import httpx

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

#: Seconds that the 99th percentile of a bystander may take.
LONGEST = 0.1
#: Units of an attack that are sent in one piece.
_UNITS = 50
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ServerLive"),
    (":authority", "attacker"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
_GET = [(":method", "GET"), *_CALL[1:]]
_NO_METHOD = [*_CALL[:2], (":path", "/no.Service/Method"), *_CALL[3:]]

DATA, HEADERS, RESET, SETTINGS, WINDOW, CONTINUATION = 0, 1, 3, 4, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Attacker:
    """Makes the frames of one connection; a stream of its own for each unit of an attack."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._stream = -1

    def opened(self, fields: list[tuple[str, str]], more: bytes = b"", flags: int = END_HEADERS) -> bytes:
        """A HEADERS frame that opens the next stream; ``more`` is added to its block."""
        self._stream += 2
        return frame(HEADERS, flags, self._stream, self._encoder.encode(fields) + more)

    def work(self) -> bytes:
        """An ordinary call."""
        return self.opened(_CALL) + frame(DATA, END_STREAM, self._stream, bytes(5))

    def on_stream(self, kind: int, flags: int, payload: bytes = b"") -> bytes:
        return frame(kind, flags, self._stream, payload)

    def many_fields(self) -> bytes:
        return self.opened(_NO_METHOD, b"\x90" * 1900)  # index 16 of the static table

    def gets(self) -> bytes:
        return self.opened(_GET, flags=END_HEADERS | END_STREAM)

    def pieces(self) -> bytes:
        head = self.opened(_NO_METHOD, flags=0)
        return head + self.on_stream(CONTINUATION, 0) * 60 + self.on_stream(CONTINUATION, END_HEADERS)

    def huffman(self) -> bytes:
        private = hpack.NeverIndexedHeaderTuple("x-long", "a~{^}" * 3000)
        return self.opened([*_NO_METHOD, private])

    def settings(self) -> bytes:
        return frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff" * 43_690)

    def short_settings(self) -> bytes:
        return frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff" * 32)

    def late_data(self) -> bytes:
        return self.work() + self.on_stream(DATA, 0, b"late") * 8

    def late_trailers(self) -> bytes:
        trailers = hpack.Encoder().encode([("x", "y")])
        return self.work() + self.on_stream(HEADERS, END_HEADERS | END_STREAM, trailers) * 4

    def rapid_reset(self) -> bytes:
        return self.opened(_CALL) + self.on_stream(RESET, 0, b"\0\0\0\x08") + self.work()

    def made_to_reset(self) -> bytes:
        return self.opened(_CALL) + self.on_stream(WINDOW, 0, bytes(4)) + self.work()

    def unfolding(self) -> bytes:
        return self.opened([*_CALL, ("x-long", "a" * 3000)], b"\xbe" * 3000)  # the newest entry of the table

    def small_messages(self) -> bytes:
        return self.opened(_CALL) + self.on_stream(DATA, 0, bytes(5) * 3000) + self.on_stream(DATA, END_STREAM)


ATTACKS: dict[str, Callable[[Attacker], bytes] | None] = {
    "nothing": None,
    "ordinary calls": Attacker.work,
    "thousands of indexed fields": Attacker.many_fields,
    "tiny GETs": Attacker.gets,
    "CONTINUATION pieces": Attacker.pieces,
    "Huffman headers": Attacker.huffman,
    "SETTINGS of 43,690 entries": Attacker.settings,
    "SETTINGS of 32 entries": Attacker.short_settings,
    "DATA on ended streams": Attacker.late_data,
    "trailers on ended streams": Attacker.late_trailers,
    "rapid reset with ordinary calls": Attacker.rapid_reset,
    "MadeYouReset with ordinary calls": Attacker.made_to_reset,
    "fields that unfold": Attacker.unfolding,
    "thousands of small messages": Attacker.small_messages,
}


def attack(port: int, name: str, begun: Event, ended: Event, result: Queue[tuple[int, int]]) -> None:
    """Attack until ``ended``; give how many units were sent, and how often the server ended the connection."""
    make = ATTACKS[name]

    async def one_connection() -> int:
        attacker, units = Attacker(), 0
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def discard() -> None:
            while await reader.read(65_536):
                pass

        reading = asyncio.create_task(discard())
        window = frame(WINDOW, 0, 0, (2**30).to_bytes(4, "big"))
        writer.write(_PREFACE + frame(SETTINGS, 0, 0, b"\0\4\x7f\xff\xff\xff") + window)
        with suppress(OSError):
            while make and not ended.is_set() and not reading.done():
                writer.write(b"".join(make(attacker) for _ in range(_UNITS)))
                units += _UNITS
                await writer.drain()
                await asyncio.sleep(0)
                begun.set()
        reading.cancel()
        writer.transport.abort()
        return units

    async def whole() -> tuple[int, int]:
        units = connections = 0
        while not ended.is_set():
            with suppress(OSError):
                units += await one_connection()
            connections += 1
            begun.set()
            if not make:
                await asyncio.sleep(0.01)
        return units, max(0, connections - 1) if make else 0

    result.put(asyncio.run(whole()))


def watch(target: str, url: str, begun: Event, ended: Event, seconds: Queue[list[float]]) -> None:
    """Call the gRPC server, or ``/healthz`` if ``url`` is given, until ``ended``; give how long each answer took."""
    waits: list[float] = []
    channel = grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)])
    live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        ask = partial(http.get, "/healthz") if url else partial(live, b"", timeout=60)
        while not ended.is_set():
            start = time.perf_counter()
            ask()
            waits.append(time.perf_counter() - start)
            begun.set()
            time.sleep(0.002)
    channel.close()
    seconds.put(waits)


def measure(target: str, url: str, name: str, duration: float) -> dict[str, object]:
    """One row: milliseconds that the bystanders waited, and what the attacker got through."""
    processes = get_context("spawn")
    ended = processes.Event()
    results: list[Queue[list[float]]] = [processes.Queue(), processes.Queue()]
    attacked: Queue[tuple[int, int]] = processes.Queue()
    port = int(target.rpartition(":")[2])
    begun = [processes.Event() for _ in range(3)]
    running = [
        processes.Process(target=watch, args=(target, "", begun[0], ended, results[0]), daemon=True),
        processes.Process(target=watch, args=(target, url, begun[1], ended, results[1]), daemon=True),
        processes.Process(target=attack, args=(port, name, begun[2], ended, attacked), daemon=True),
    ]
    for number, process in enumerate(running):
        process.start()
        begun[number].wait(60)
    time.sleep(duration)
    ended.set()
    row: dict[str, object] = {"attack": name}
    for kind, result in zip(("grpc", "healthz"), results, strict=True):
        waits = sorted(result.get(timeout=60))
        row[f"{kind}_p99_ms"] = round(waits[int(len(waits) * 0.99)] * 1e3, 1)
        row[f"{kind}_worst_ms"] = round(waits[-1] * 1e3, 1)
    row["units"], row["cut_off"] = attacked.get(timeout=60)
    for process in running:
        process.join()
    return row


def main() -> None:
    """Measure, print a line an attack, and fail where a bystander waited too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--attacks", nargs="*", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--save", type=Path)
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    # Only here: the processes of the attacker and the bystanders import this file, and should begin at once.
    import machine

    from tests import bundles
    from tests.servers import start

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bundles.write_affine(Path(folder))
        with start(Path(folder), *given.options) as server:
            for name in given.attacks:
                rows.append(measure(server.grpc_target, server.http, name, given.seconds))
                print(json.dumps(rows[-1]), flush=True)
    if given.save:
        given.save.write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1) + "\n", "utf-8")
    limit = LONGEST * 1e3
    slow = [row["attack"] for row in rows if max(float(str(row[f"{k}_p99_ms"])) for k in ("grpc", "healthz")) > limit]
    if slow:
        sys.exit(f"others waited too long: {', '.join(map(str, slow))}")


if __name__ == "__main__":
    main()

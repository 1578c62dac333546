# ruff: noqa: T201 - a measurement that prints
"""Soak: a real server in full load for minutes, while its models change, workers are killed and clients misbehave.

python bench/soak.py [--seconds 600] [--workers 2] [--save FILE.json] [-- OPTIONS of bookserve serve]

Nineteen callers ask over every wire without a pause, and know what each answer must be. Meanwhile versions appear and
vanish, a third of them broken; workers get kill -9; clients are slow, leave, or send what is none. At last SIGTERM, in
full load. Exit code 1 where a request was lost or an answer wrong, where the server was not ready, or where the worker
that lived throughout grew by more than ``GROWTH``. ``docs/reliability.md`` has the figures of a run:
``bench/figures.py`` puts them there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import machine  # noqa: E402
from book import Book  # noqa: E402
from callers import KINDS, Caller  # noqa: E402
from mischief import Sample, kill, leave, measure, probe, slow, spoil, stop, swap, write_version  # noqa: E402

from tests import bundles  # noqa: E402

#: Seconds between two new versions, and between two kills.
SWAPS, KILLS = 1.5, 8.0
#: By how much a worker may be larger at the end of a run than after its first quarter: MiB, open files, threads.
#: Files are connections, too: as many as there are clients may come and go.
GROWTH = {"mib": 24.0, "files": 24, "threads": 8}
#: Seconds that the server has to end.
GRACE = 60


async def soak(seconds: float, workers: int, options: list[str], folder: Path) -> dict[str, Any]:
    """Run it; what happened."""
    models, scratch = folder / "models", folder / "scratch"
    bundles.write_writer(models)
    (models / "affine").mkdir()
    write_version(models, scratch, 1)
    command = [sys.executable, "-m", "bookserve", "serve", str(models), "--json", "--http-port", "0"]
    command += ["--grpc-port", "0", "--poll", "0.5", "--workers", str(workers), *options]
    measured = {**machine.told(), "seconds": seconds, "workers": workers, "options": options}
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT)
    try:
        assert process.stdout  # noqa: S101
        ready = await asyncio.wait_for(process.stdout.readline(), GRACE)
        if not ready:
            raise SystemExit((folder / "log").read_text())
        told = json.loads(ready)
        book, samples = Book(), list[Sample]()
        ports = [int(told[name].rpartition(":")[2]) for name in ("http", "grpc")]
        tasks = [asyncio.create_task(work) for work in _work(book, psutil.Process(process.pid), ports, samples, folder)]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        stop(book, psutil.Process(process.pid))
        try:
            code = await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            code = None
        took = time.perf_counter() - book.stopped
        book.over = True
        done, late = await asyncio.wait(tasks, timeout=GRACE)
        broke = [repr(task.exception()) for task in done if task.exception()]
        return (
            measured
            | {"load average after": machine.load()}
            | _judged(book, samples, code, took, [*broke, *map(repr, late)])
        )
    finally:
        if process.returncode is None:
            process.kill()
        log.close()


def _work(
    book: Book, server: psutil.Process, ports: list[int], samples: list[Sample], folder: Path
) -> list[Coroutine[Any, Any, None]]:
    http, rpc = ports
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    return [
        *(Caller(book, http, rpc, seed).run(kind) for seed, kind in enumerate(kinds)),
        swap(book, folder / "models", folder / "scratch", SWAPS),
        kill(book, server, KILLS),
        probe(book, http),
        *(slow(book, http) for _ in range(2)),
        leave(book, http, random.Random(1)),  # noqa: S311
        spoil(book, http, rpc, random.Random(2)),  # noqa: S311
        measure(book, server, samples),
    ]


def _judged(book: Book, samples: list[Sample], code: int | None, took: float, broke: list[str]) -> dict[str, Any]:
    quarter = max(1, len(samples) // 4)
    sizes = {
        name: [round(statistics.median(getattr(one, name) for one in part), 1) for part in _parts(samples, quarter)]
        for name in ("mib", "files", "threads", "processes", "all_mib")
    }
    grown = [
        f"{name} grew from {sizes[name][0]} to {sizes[name][-1]}"
        for name, bound in GROWTH.items()
        if sizes[name][-1] > sizes[name][0] + bound
    ]
    swapped = len(book.good) // 2  # a version that was replaced before any worker had looked is nobody's loss
    faults = [*grown, *broke]
    if code != 0:
        faults.append(f"the server ended with {code}")
    if len(book.seen) < swapped:
        faults.append(f"of {len(book.good)} versions only {len(book.seen)} answered")
    faults += [f"no {kind} was answered" for kind in KINDS if not book.answered[kind]]
    return {
        "answered": dict(book.answered),
        "sent again after a kill": dict(book.resent),
        "refused while stopping": dict(book.refused),
        "mischief": dict(sorted(book.mischief.items())),
        "versions": {"whole": len(book.good), "broken": len(book.broken), "answered": len(book.seen)},
        "kills": len(book.kills),
        "seconds to end": round(took, 2),
        "sizes": sizes,
        "lost": book.lost,
        "wrong": book.wrong,
        "faults": faults,
    }


def _parts(samples: list[Sample], quarter: int) -> list[list[Sample]]:
    middle = len(samples) // 2
    return [samples[quarter : 2 * quarter] or samples, samples[middle : middle + quarter], samples[-quarter:]]


def _told(result: dict[str, Any]) -> None:
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, one in value.items():
                print(f"    {key:24} {one if isinstance(one, list) else format(one, ',')}")
        elif isinstance(value, list):
            print(f"{name}: {len(value)}")
            for one in value[:20]:
                print(f"    {one[:300]}")
        else:
            print(f"{name}: {value}")


def main() -> None:
    """Read the options, run, print, and leave with 1 where anything was lost, wrong or out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", type=Path)
    parser.add_argument("options", nargs="*", help="options of `bookserve serve`, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        result = asyncio.run(soak(given.seconds, given.workers, given.options, Path(folder)))
        log = (Path(folder) / "log").read_text()
    _told(result)
    if given.save:
        given.save.write_text(json.dumps(result, indent=1) + "\n")
    if result["lost"] or result["wrong"] or result["faults"]:
        print(f"--- the server's log ---\n{log[-6000:]}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

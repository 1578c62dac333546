# ruff: noqa: T201 - a measurement that prints
"""Run a server under full load for minutes, while its models change, workers are killed and clients misbehave.

python bench/soak.py [--seconds 600] [--workers 2] [--save FILE.json] [-- OPTIONS of bookserve serve]

Nineteen clients send requests over every protocol without a pause, and know what each answer must be. Meanwhile
versions appear and vanish, a third of them broken; workers get SIGKILL; clients are slow, disconnect, or send malformed
requests. At the end the server gets SIGTERM in full load. The exit code is 1 where a request was lost, an answer was
wrong, the server was not ready, or the worker that lived throughout grew by more than ``GROWTH``.
``bench/figures.py`` writes a saved run into ``docs/reliability.md``.
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
from callers import KINDS, Caller  # noqa: E402
from chaos import (  # noqa: E402
    Sample,
    disconnect_early,
    kill_workers,
    probe_readiness,
    publish_versions,
    sample_size,
    send_malformed,
    send_sigterm,
    send_slowly,
    write_version,
)
from ledger import Ledger  # noqa: E402

from tests import bundles  # noqa: E402

#: Seconds between two new versions, and between two kills.
PUBLISH_SECONDS, KILL_SECONDS = 1.5, 8.0
#: By how much a worker may be larger at the end of a run than after its first quarter: MiB, open files, threads.
#: Files are connections, too: as many as there are clients may come and go.
GROWTH = {"mib": 24.0, "files": 24, "threads": 8}
#: Seconds that the server has to start, and to end.
GRACE = 60


async def run_soak(seconds: float, workers: int, options: list[str], folder: Path) -> dict[str, Any]:
    """Run the soak in ``folder`` and return what happened, as ``--save`` writes it."""
    models, scratch = folder / "models", folder / "scratch"
    bundles.write_writer(models)
    (models / "affine").mkdir()
    write_version(models, scratch, 1)
    command = [sys.executable, "-m", "bookserve", "serve", str(models), "--json", "--http-port", "0"]
    command += ["--grpc-port", "0", "--poll", "0.5", "--workers", str(workers), *options]
    measured = {**machine.describe(), "seconds": seconds, "workers": workers, "options": options}
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT)
    try:
        assert process.stdout  # noqa: S101
        ready = await asyncio.wait_for(process.stdout.readline(), GRACE)
        if not ready:
            raise SystemExit((folder / "log").read_text())
        addresses = json.loads(ready)
        ledger, samples = Ledger(), list[Sample]()
        ports = [int(addresses[name].rpartition(":")[2]) for name in ("http", "grpc")]
        tasks = [
            asyncio.create_task(client)
            for client in _clients(ledger, psutil.Process(process.pid), ports, samples, folder)
        ]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        send_sigterm(ledger, psutil.Process(process.pid))
        try:
            code = await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            code = None
        seconds_to_end = time.perf_counter() - ledger.stopped
        ledger.over = True
        done, late = await asyncio.wait(tasks, timeout=GRACE)
        failures = [repr(task.exception()) for task in done if task.exception()]
        return (
            measured
            | {"load average after": machine.load_average()}
            | _evaluate(ledger, samples, code, seconds_to_end, [*failures, *map(repr, late)])
        )
    finally:
        if process.returncode is None:
            process.kill()
        log.close()


def _clients(
    ledger: Ledger, server: psutil.Process, ports: list[int], samples: list[Sample], folder: Path
) -> list[Coroutine[Any, Any, None]]:
    http_port, grpc_port = ports
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    return [
        *(Caller(ledger, http_port, grpc_port, seed).run(kind) for seed, kind in enumerate(kinds)),
        publish_versions(ledger, folder / "models", folder / "scratch", PUBLISH_SECONDS),
        kill_workers(ledger, server, KILL_SECONDS),
        probe_readiness(ledger, http_port),
        *(send_slowly(ledger, http_port) for _ in range(2)),
        disconnect_early(ledger, http_port, random.Random(1)),  # noqa: S311
        send_malformed(ledger, http_port, grpc_port, random.Random(2)),  # noqa: S311
        sample_size(ledger, server, samples),
    ]


def _evaluate(
    ledger: Ledger, samples: list[Sample], code: int | None, seconds_to_end: float, failures: list[str]
) -> dict[str, Any]:
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
    expected = len(ledger.whole_versions) // 2  # some are replaced before any worker has looked
    faults = [*grown, *failures]
    if code != 0:
        faults.append(f"the server ended with {code}")
    if len(ledger.answered_versions) < expected:
        faults.append(f"of {len(ledger.whole_versions)} versions only {len(ledger.answered_versions)} answered")
    faults += [f"no {kind} was answered" for kind in KINDS if not ledger.answered[kind]]
    return {
        "answered": dict(ledger.answered),
        "sent again after a kill": dict(ledger.resent),
        "refused while stopping": dict(ledger.refused),
        "chaos": dict(sorted(ledger.chaos.items())),
        "versions": {
            "whole": len(ledger.whole_versions),
            "broken": len(ledger.broken_versions),
            "answered": len(ledger.answered_versions),
        },
        "kills": len(ledger.kills),
        "seconds to end": round(seconds_to_end, 2),
        "sizes": sizes,
        "lost": ledger.lost,
        "wrong": ledger.wrong,
        "faults": faults,
    }


def _parts(samples: list[Sample], quarter: int) -> list[list[Sample]]:
    middle = len(samples) // 2
    return [samples[quarter : 2 * quarter] or samples, samples[middle : middle + quarter], samples[-quarter:]]


def _print(result: dict[str, Any]) -> None:
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
    """Run a soak and print what happened; exit with 1 where anything was lost, wrong or out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", type=Path)
    parser.add_argument("options", nargs="*", help="options of `bookserve serve`, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        result = asyncio.run(run_soak(given.seconds, given.workers, given.options, Path(folder)))
        log = (Path(folder) / "log").read_text()
    _print(result)
    if given.save:
        given.save.write_text(json.dumps(result, indent=1) + "\n")
    if result["lost"] or result["wrong"] or result["faults"]:
        print(f"--- the server's log ---\n{log[-6000:]}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

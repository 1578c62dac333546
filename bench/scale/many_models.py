# ruff: noqa: T201 - a measurement that prints
"""Measure one server with thousands of models: start, polling, memory, /metrics, loads at first use and hit rate.

python bench/scale/many_models.py [--models 10000] [--loaded 500] [--requests 20000] [--poll 5] [--idle 30]

Every model is a copy of one small bundle (hard links; the models are named apart). Requests choose models by Zipf's
law, with an exponent of 1.1. Times are those of one client that asks one thing after the other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "pretrained/boston_housing"
BODY = json.dumps({"instances": [[0.1, 12.5, 7, 0, 0.5, 6.2, 60, 4, 4, 300, 18, 390, 10]]})
#: Exponent of Zipf's law: the model of rank r gets a share of r ** -EXPONENT.
EXPONENT = 1.1


def write_models(directory: Path, count: int) -> None:
    """``count`` models of one version each."""
    (version,) = [path for path in SOURCE.iterdir() if path.is_dir()]
    files = [path for path in version.rglob("*") if path.is_file()]
    for number in range(count):
        for path in files:
            copy = directory / f"m{number:05}" / version.name / path.relative_to(version)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, copy)
            except OSError:  # another file system, or too many links
                copy.write_bytes(path.read_bytes())


class Served:
    """A server that is measured."""

    def __init__(self, process: subprocess.Popen[str], port: int, seconds: float) -> None:
        self.pid, self.start_seconds = process.pid, seconds
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def predict(self, model: str) -> float:
        """Ask one model; returns the seconds until the answer."""
        began = time.perf_counter()
        self.connection.request("POST", f"/v1/models/{model}:predict", BODY)
        response = self.connection.getresponse()
        content = response.read()
        if response.status != 200:
            sys.exit(f"{model}: {response.status} {content[:300]!r}")
        return time.perf_counter() - began

    def metrics(self) -> tuple[str, float]:
        """The text of /metrics, and the seconds that it took."""
        began = time.perf_counter()
        self.connection.request("GET", "/metrics")
        return self.connection.getresponse().read().decode(), time.perf_counter() - began


@contextmanager
def served(models: Path, *options: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "bookserve", "serve", str(models), "--json", "--lazy", "--http-port", "0"]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--grpc-port", "0", *options], stdout=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        try:
            address = json.loads(process.stdout.readline())["http"] if process.stdout else ""
            yield Served(process, int(address.rpartition(":")[2]), time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(60)


def counted(text: str, name: str, labels: str = "") -> float:
    """Sum of a metric's samples whose labels contain ``labels``."""
    found = re.findall(rf"^{name}(?:\{{([^}}]*)\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for given, value in found if labels in given)


def share(times: list[float], part: float) -> str:
    return f"{sorted(times)[min(int(len(times) * part), len(times) - 1)] * 1e3:.1f} ms"


def measure(arguments: Any, models: Path) -> Iterator[tuple[str, str]]:
    """Rows of the table."""
    names = [f"m{number:05}" for number in range(arguments.models)]
    with served(models, "--max-loaded", str(arguments.loaded), "--poll", str(arguments.poll)) as server:
        yield "start, until it answers", f"{server.start_seconds:.1f} s"
        yield "memory after the start", f"{server.memory():.0f} MB"
        time.sleep(arguments.poll + 3)  # the first poll reads directories again that were made just before the start
        before = server.cpu_seconds()
        time.sleep(arguments.idle)
        used = (server.cpu_seconds() - before) / arguments.idle
        yield f"idle with `--poll {arguments.poll:g}`", f"{used:.1%} of a core"
        drawn = random.Random(0)  # noqa: S311
        order = drawn.sample(names, len(names))
        first = [server.predict(name) for name in order[: 2 * arguments.loaded]]
        yield "first request to a model, median", share(first, 0.5)
        yield "first request to a model, 99 %", share(first, 0.99)
        again = [server.predict(order[2 * arguments.loaded - 1]) for _ in range(1000)]
        yield "request to a model in memory, median", share(again, 0.5)
        text, _ = server.metrics()
        weights = list(accumulate((rank + 1) ** -EXPONENT for rank in range(len(names))))
        asked = drawn.choices(order, cum_weights=weights, k=arguments.requests)
        for name in asked:
            server.predict(name)
        end, seconds = server.metrics()
        hits, misses = (
            counted(end, "bookserve_model_cache_requests_total", f'result="{result}"')
            - counted(text, "bookserve_model_cache_requests_total", f'result="{result}"')
            for result in ("hit", "miss")
        )
        yield f"{arguments.requests:,} requests by Zipf's law: hits", f"{hits / (hits + misses):.1%}"
        evictions = "bookserve_model_cache_evictions_total"
        yield (
            "models loaded, unloaded for others",
            f"{misses:.0f}, {counted(end, evictions) - counted(text, evictions):.0f}",
        )
        yield "memory then", f"{server.memory():.0f} MB"
        yield "`/metrics`", f"{len(end) / 1e3:.0f} KB in {seconds * 1e3:.0f} ms"
        shown = set(re.findall(r'^bookserve_requests_total\{.*?model="([^"]*)"', end, re.MULTILINE))
        yield "models with labels of their own", f"{len(shown - {'_other'})}"
        total = counted(end, "bookserve_requests_total")
        sent = arguments.requests + len(first) + len(again)
        yield "requests counted, and sent", f"{total:.0f}, {sent}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--loaded", type=int, default=500)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--poll", type=float, default=5.0)
    parser.add_argument("--idle", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT) as directory:
        write_models(Path(directory), arguments.models)
        print(f"| {arguments.models:,} models, {arguments.loaded} of them in memory | |\n|---|---|")
        for name, value in measure(arguments, Path(directory)):
            print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()

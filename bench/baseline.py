# ruff: noqa: T201 - a measurement that prints
"""Compare the server of this checkout with that of another one: CPU time a request, in interleaved pairs.

python bench/baseline.py OTHER_CHECKOUT [--models demo/models] [--model mnist_convnet] [--starts 7] [--seconds 1]
                         [--wires gRPC] [--workloads "1 client"] [--servers bookserve] [--most 1.05] [--save FILE.json]

Both servers run at the same time, with one process and with two workers each, and each row of the table is measured in
turn: the other checkout, this one, so that a busy machine slows both. Then both are started again: a process can be 5 %
faster or slower than another one with the same code for as long as it lives, by where its memory lies. A row is the
median over the starts. The exit code is 1 where a row's CPU time a request is more than ``--most`` times that of the
other checkout. wrk and h2load make the load, as for ``bench/servers.py``. Start time and memory are compared as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server import BINARY, GRPC, ROOT, ROWS, TENSORS, Running, start_server
from servers import Subject
from wires import Wire, prepare, run_load, send

from bookserve import bundle

#: Rows in a request, and how many requests are under way at once.
WORKLOADS = {"1 client": (1, 1), "16 clients": (1, 16), "64 clients": (1, 64), "batches of 32": (32, 4)}
SERVERS = ("bookserve", "bookserve, 2 workers")
WIRES = (ROWS, TENSORS, BINARY, GRPC)


def measure(running: Running, wire: Any, subject: Subject, workload: str, seconds: float) -> float:
    """Microseconds of CPU time a request."""
    rows, clients = WORKLOADS[workload]
    request = prepare(wire, running.port(wire), subject.name, subject.feeds[rows])
    request = request._replace(answer=send(wire, request)[1])
    before = running.cpu()
    found = run_load(wire, request, clients, seconds)
    if found["errors"]:
        sys.exit(f"error: {wire.name}, {workload}: {found['errors']} errors")
    return float((running.cpu() - before) / found["count"] * 1e6)


def measure_both(
    servers: tuple[Running, Running],
    rows: Sequence[tuple[Wire, str]],
    subject: Subject,
    seconds: float,
    other_first: bool,
) -> dict[tuple[str, str], tuple[float, float]]:
    """Microseconds of CPU time a request of both servers, by wire and workload."""
    found = {}
    for wire, workload in rows:
        cpu = [0.0, 0.0]
        for side in (0, 1):
            measure(servers[side], wire, subject, workload, 1)  # warms up, and is not counted
        for side in (0, 1) if other_first else (1, 0):
            cpu[side] = measure(servers[side], wire, subject, workload, seconds)
        found[wire.name, workload] = cpu[0], cpu[1]
    return found


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every row of every server."""
    lines: list[dict[str, Any]] = []
    subject = Subject(bundle.open_bundle(arguments.models, arguments.model))
    rows = [
        (wire, workload)
        for wire in WIRES
        if not arguments.wires or wire.name in arguments.wires
        for workload in arguments.workloads or WORKLOADS
    ]
    for name in arguments.servers:
        found = []
        for number in range(arguments.starts):
            with contextlib.ExitStack() as stack:
                before, now = (
                    stack.enter_context(
                        start_server(name, arguments.models, subject.name, subject.onnx, subject.feeds[1], root)
                    )
                    for root in (arguments.other.resolve(), ROOT)
                )
                starts = {"start s": (before.ready, now.ready), "MB": (before.memory(), now.memory())}
                print(name, {key: [round(one, 2) for one in pair] for key, pair in starts.items()}, flush=True)
                found.append(measure_both((before, now), rows, subject, arguments.seconds, bool(number % 2)))
        for wire, workload in found[0]:
            pairs = [one[wire, workload] for one in found]
            was, is_ = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(after / earlier for earlier, after in pairs)
            line = {"server": name, "wire": wire, "workload": workload, "before": round(was, 1)}
            lines.append(line | {"now": round(is_, 1), "ratio": round(ratio, 3)})
            print(" | ".join(map(str, lines[-1].values())), flush=True)
            if arguments.save:
                arguments.save.write_text(json.dumps(lines, indent=1) + "\n", "utf-8")
    return lines


def main() -> None:
    """Measure, print a line a row, and fail where a row became slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--models", type=Path, default=Path("demo/models"))
    parser.add_argument("--model", default="mnist_convnet")
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--wires", nargs="*", choices=[wire.name for wire in WIRES])
    parser.add_argument("--workloads", nargs="*", choices=list(WORKLOADS))
    parser.add_argument("--servers", nargs="*", choices=SERVERS, default=SERVERS)
    parser.add_argument("--most", type=float, default=1.05)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    arguments.models = arguments.models.resolve()
    slower = [line for line in compare(arguments) if line["ratio"] > arguments.most]
    if slower:
        sys.exit("slower: " + "; ".join(f"{line['server']}, {line['wire']}, {line['workload']}" for line in slower))


if __name__ == "__main__":
    main()

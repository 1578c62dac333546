"""bench/servers.py prints a table for each model, and bookserve's figures relative to the best other server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVERS = Path(__file__).parents[2] / "bench/servers.py"


def line(model: str, server: str, wire: str, rate: int, cpu: int) -> dict[str, Any]:
    named = {"model": model, "server": server, "wire": wire, "workload": "1 client"}
    return named | {"requests/s": rate, "CPU µs": cpu, "errors": 0}


def test_ratios_are_to_the_best_server_of_the_same_model_and_protocol(tmp_path: Path) -> None:
    lines = [
        line("one", "bookserve", "gRPC", 300, 90),
        line("one", "bookserve, 2 workers", "gRPC", 600, 60),
        line("one", "bookserve", "HTTP binary", 5, 5),
        line("one", "fast", "gRPC", 200, 200),
        line("one", "lean", "gRPC", 100, 120),
        line("two", "bookserve", "gRPC", 10, 10),
        line("two", "slow", "gRPC", 1, 100),
    ]
    run = {"date": "2026-01-02", "machine": "a machine", "load average": 0.1, "rounds": 1, "seconds": 1.0}
    (saved := tmp_path / "run.json").write_text(json.dumps({**run, "lines": lines, "broken": []}))
    done = subprocess.run(
        [sys.executable, str(SERVERS), "--show", str(saved)], capture_output=True, text=True, check=True
    )
    one, two = done.stdout.partition("### `one`")[2].split("### `two`")
    assert "| bookserve | gRPC | 1 client | 300 | 90 | 0 |" in one
    assert "| bookserve | gRPC | 1 client | 1.50 × fast | 0.75 × lean |" in one
    assert "| bookserve, 2 workers | gRPC | 1 client | 3.00 × fast | 0.50 × lean |" in one
    assert one.count("HTTP binary") == 1, "no other server has this protocol: nothing to compare with"
    assert "| bookserve | gRPC | 1 client | 10.00 × slow | 0.10 × slow |" in two

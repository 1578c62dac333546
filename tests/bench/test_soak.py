"""A short soak: fifteen seconds with everything that a long one does, in which nothing may be lost or wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "bench/soak.py"


@pytest.mark.parametrize(("seconds", "workers"), [(15, 2), (5, 1)])
def test_nothing_is_lost(tmp_path: Path, seconds: int, workers: int) -> None:
    saved = tmp_path / "soak.json"
    command = [sys.executable, str(SOAK), "--seconds", str(seconds), "--workers", str(workers), "--save", str(saved)]
    command += ["--", "--max-batch", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    run = json.loads(saved.read_text())
    assert run["lost"] == run["wrong"] == run["faults"] == []
    assert all(run["chaos"][what] for what in ("slow", "left in the body", "left in the stream"))
    assert run["kills"] == (1 if workers > 1 else 0)
    assert run["versions"]["broken"] and run["versions"]["answered"] > 1
    (document := tmp_path / "figures.md").write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    subprocess.run([sys.executable, str(SOAK.with_name("figures.py")), str(saved), str(document)], check=True)
    text = document.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    assert f"{sum(run['answered'].values()):,} answers" in text
    assert f"| HTTP, JSON, `/v1` | {run['answered']['http_v1']:,} |" in text

"""Describe the machine that a measurement runs on: date, processor, Python version and load."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """The date, the machine, and the load average of the last minute."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} × {next(names, platform.machine())}, Python {platform.python_version()}",
        "load average": load_average(),
    }


def load_average() -> float:
    """How many processes wanted a CPU, on average over the last minute."""
    return round(os.getloadavg()[0], 1)

"""Machine: on what, when and beside what other work something is measured."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any


def told() -> dict[str, Any]:
    """The day, the machine, and how many processes have wanted a CPU in the last minute."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} × {next(names, platform.machine())}, Python {platform.python_version()}",
        "load average": load(),
    }


def load() -> float:
    """How many processes have wanted a CPU in the last minute."""
    return round(os.getloadavg()[0], 1)

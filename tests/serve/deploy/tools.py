"""Programs that a machine need not have: what is missing skips a test, and fails it under ``make test-deploy``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[3] / "deploy"


def program(name: str) -> str:
    """The path of a program."""
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    if os.environ.get("BOOKSERVE_TEST_DEPLOY"):
        pytest.fail(f"{name} is not installed; deploy/tools.sh says what is needed")
    pytest.skip(f"{name} is not installed")


def run(name: str, *arguments: str | Path, cwd: Path = DEPLOY, timeout: float = 600) -> str:
    """Run a program to its end; returns what it prints.

    Raises:
        AssertionError: its exit code is not 0.
    """
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout

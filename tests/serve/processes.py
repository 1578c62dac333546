"""Starts ``bookserve serve`` as a process, reads what it prints, and waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-m", "bookserve", "serve"]
#: Options for free ports.
FREE = ["--http-port", "0", "--grpc-port", "0"]


@contextmanager
def started(models: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A server of which both outputs can be read; killed if the test has not stopped it."""
    command = [*COMMAND, str(models), *FREE, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def refused(*arguments: str) -> tuple[int, str]:
    """Exit code and log of a server that must not start."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def read(process: subprocess.Popen[str]) -> dict[str, str]:
    """The line that ``--json`` prints: addresses and models."""
    assert process.stdout
    return json.loads(process.stdout.readline())


def wait_for(process: subprocess.Popen[str], said: str) -> None:
    """Read the log up to a line that contains ``said``."""
    assert process.stderr
    assert any(said in line for line in process.stderr)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return sorted(map(int, path.read_text().split()))


def until(true: Callable[[], bool]) -> None:
    """Wait up to half a minute for a condition."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("the condition was not met within half a minute")

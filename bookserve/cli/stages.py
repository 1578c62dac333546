"""Run commands in processes that end when the user interrupts, and print what each did (``bookserve demo``)."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from bookserve.cli.programs import python_command
from bookserve.errors import Failed

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
#: Seconds between two looks whether the user has interrupted, and those that a process has to end.
_LOOK, _GRACE = 0.1, 20


class DemoInterrupted(Exception):  # noqa: N818 - not an error: the user wants the end
    """The user has interrupted; raised only where no process can be lost."""


class Stages:
    """Processes of one program run, its log file, and the time each stage took.

    A signal is only noted and acted on between two steps: so none comes between the start of a process and the line
    that remembers it. Every process has a session of its own, does not get the terminal's Ctrl-C, and is ended by
    ``close``, together with the processes that it has started.
    """

    def __init__(self, log: Path) -> None:
        self.interrupted = 0
        self._log = log
        self._log.write_text("")
        self._processes: list[subprocess.Popen[str]] = []

    def check(self) -> None:
        """Raise ``DemoInterrupted`` if a signal has come."""
        if self.interrupted:
            raise DemoInterrupted

    def sleep_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``done()``, or the time is over; return whether it is done."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            if done():
                return True
            time.sleep(_LOOK)
        return done()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``bookserve ARGUMENTS``; its standard error goes to the log."""
        self.check()
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ bookserve {shlex.join(arguments)}\n")
            log.flush()
            process = subprocess.Popen(
                python_command("bookserve", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def read_line(self, process: subprocess.Popen[str], seconds: float) -> str:
        """The first line that a process prints; '' if it prints none in that time."""
        if process.stdout is None:
            return ""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            if select.select([process.stdout], [], [], _LOOK)[0]:
                return process.stdout.readline()
        return ""

    def run(self, *arguments: str) -> str:
        """Run ``bookserve ARGUMENTS`` to its end; return its standard output.

        Raises:
            Failed: it exited with another code than 0.
            DemoInterrupted: a signal came; the process is ended by ``close``.
        """
        process = self.start(*arguments)
        while True:
            try:
                output, _ = process.communicate(timeout=_LOOK)
                break
            except subprocess.TimeoutExpired:
                self.check()
        self.check()
        with self._log.open("a", encoding="utf-8") as log:
            log.write(output)
        if process.returncode:
            raise Failed(
                f"'bookserve {shlex.join(arguments)}' ended with exit code {process.returncode}.",
                f"Its messages are at the end of {self._log}.",
            )
        return output

    def release(self, process: subprocess.Popen[str]) -> None:
        """Let a process run on after ``close``."""
        self._processes.remove(process)
        if process.stdout:
            process.stdout.close()

    def close(self) -> None:
        """End every process: ask it to stop, and kill after 20 seconds what is left of it."""
        running, self._processes = self._processes, []
        for process in running:
            _signal_group(process, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        for process in running:
            while process.poll() is None and time.monotonic() < end:
                time.sleep(_LOOK / 5)
        for process in running:
            _signal_group(process, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()


@contextmanager
def open_stages(log: Path) -> Iterator[Stages]:
    """Note signals from here on, and end all processes at the end of the block."""
    stages = Stages(log)

    def note(number: int, frame: FrameType | None) -> None:
        stages.interrupted = number

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stages
    finally:
        stages.close()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def timed(what: str) -> Iterator[Callable[[str], None]]:
    """Print ``what``, the result that the block sets, and its seconds, in one line."""
    start, result = time.perf_counter(), [""]
    yield lambda text: result.__setitem__(0, text)
    click.echo(f"{what:<24} {result[0]}  ({time.perf_counter() - start:.1f} s)")


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a process and to what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)

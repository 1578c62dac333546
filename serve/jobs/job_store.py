"""Shelf: a directory in which several processes show each other their jobs – how far each is, its pictures.

A job belongs to the process that took it on. That one writes ``ID.json`` whenever something changes (and
``ID.preview.png``, ``ID.png`` before it), the others read; whoever wants a job cancelled leaves ``ID.cancel``. A job
whose process died is told as failed. A lock, which ends with its holder, lets one job run at a time.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from bookserve.errors import BY_CODE, BookserveError, Failed, NotFound
from serve.jobs.job import ENDED_STATES, Job, error_fields

#: Seconds between two looks at what other processes wrote.
POLL_SECONDS = 0.1
_ID = re.compile(r"[\w-]{8,32}", re.ASCII)


class _JobRecord(msgspec.Struct):
    """What stands in ``ID.json``."""

    #: Number of the process that works on it.
    worker: int
    told: dict[str, Any]
    ended_at: float
    #: Bytes that it keeps.
    size: int
    #: Previews so far.
    previews: int


class RemoteJob:
    """A job of another process; it shows what ``Job`` does, as of the last look."""

    def __init__(self, directory: Path, name: str) -> None:
        """
        Raises:
            NotFound: there is none of that id.
        """
        self.id = name
        self._directory = directory
        self._previews, self._preview = 0, b""
        self._look()

    def _look(self) -> None:
        path = self._directory / f"{self.id}.json"
        try:
            self._shown = msgspec.json.decode(path.read_bytes(), type=_JobRecord)
            written = path.stat().st_mtime
        except OSError as error:
            raise NotFound(f"there is no job '{self.id}'.", "It may have been forgotten.") from error
        if not self.ended and not _is_alive(self._shown.worker):
            self._end(Failed("the process that worked on it died.", "Start it again."), written)

    def _end(self, error: BookserveError, when: float) -> None:
        told = self._shown.told | {"state": "failed", "error": error_fields(error)}
        self._shown = msgspec.structs.replace(self._shown, told=told, ended_at=when)

    @property
    def state(self) -> str:
        """As of ``Job``."""
        return str(self._shown.told["state"])

    @property
    def ended(self) -> bool:
        """As of ``Job``."""
        return self.state in ENDED_STATES

    @property
    def ended_at(self) -> float:
        """As of ``Job``; of one whose process died, when it was last heard of."""
        return self._shown.ended_at

    @property
    def size(self) -> int:
        """As of ``Job``."""
        return self._shown.size

    @property
    def error(self) -> BookserveError | None:
        """As of ``Job``."""
        told = self._shown.told.get("error")
        return BY_CODE[told["code"]](told["message"], told["hint"]) if told else None

    @property
    def preview(self) -> bytes | None:
        """As of ``Job``; the same object until there is a newer one."""
        if self._previews != self._shown.previews:
            self._previews, self._preview = self._shown.previews, self._read("preview.png") or b""
        return self._preview or None

    @property
    def picture(self) -> bytes | None:
        """As of ``Job``."""
        return self._read("png") if self.state == "done" else None

    def _read(self, suffix: str) -> bytes | None:
        with suppress(OSError):
            return (self._directory / f"{self.id}.{suffix}").read_bytes()
        return None

    def told(self) -> dict[str, Any]:
        """As of ``Job``."""
        return dict(self._shown.told)

    async def watch(self) -> AsyncGenerator[None]:
        """As of ``Job``."""
        while True:
            before, ended = self._shown, self.ended
            yield
            if ended:
                return
            while self._shown == before:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    self._look()
                except NotFound as error:
                    self._end(error, time.time())


class JobStore:
    """The jobs of all processes, in a directory of theirs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self._previews: dict[str, tuple[int, bytes | None]] = {}

    def show(self, job: Job) -> None:
        """Write what is to be known of a job of this process."""
        count, shown = self._previews.get(job.id, (0, None))
        if job.preview is not shown and job.preview is not None:
            count += 1
            self._write(f"{job.id}.preview.png", job.preview)
        self._previews[job.id] = count, job.preview
        if job.picture is not None:
            self._write(f"{job.id}.png", job.picture)
        if job.ended:
            self._previews.pop(job.id, None)
        told = _JobRecord(os.getpid(), job.told(), job.ended_at, job.size, count)
        self._write(f"{job.id}.json", msgspec.json.encode(told))

    def _write(self, name: str, content: bytes) -> None:
        with suppress(OSError):  # the directory is gone: the server is ending
            (self._directory / f".{name}").write_bytes(content)
            (self._directory / f".{name}").rename(self._directory / name)

    def names(self) -> set[str]:
        """The ids of all jobs there."""
        return {path.stem for path in self._directory.glob("[!.]*.json")}

    def find(self, name: str) -> RemoteJob:
        """The job of that id.

        Raises:
            NotFound: there is none.
        """
        if not _ID.fullmatch(name):
            raise NotFound(f"there is no job '{name}'.")
        return RemoteJob(self._directory, name)

    def cancel(self, name: str) -> None:
        """Ask the process that has the job to cancel it."""
        (self._directory / f"{name}.cancel").touch()

    def cancelled(self, name: str) -> bool:
        """Whether somebody asked for that."""
        return (self._directory / f"{name}.cancel").exists()

    def forget(self, name: str) -> None:
        """Take a job off the shelf."""
        for path in self._directory.glob(f"{name}.*"):
            path.unlink(missing_ok=True)

    @asynccontextmanager
    async def turn(self, given_up: Callable[[], bool]) -> AsyncGenerator[None]:
        """Wait until no other process runs a job, or until ``given_up``."""
        import fcntl  # where there are several processes, there is this

        with (self._directory / ".turn").open("w") as lock:
            while not given_up():
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                await asyncio.sleep(POLL_SECONDS)
            yield


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

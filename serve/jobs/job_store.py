"""Shares jobs between the worker processes of one server, through files in a directory.

A job belongs to the process that accepted it. That process writes ``ID.json`` after every change (and before it
``ID.preview.png`` and ``ID.png``); the others read it. To cancel a job, another process creates ``ID.cancel``. A job
whose process died is reported as failed. A file lock, which ends with its process, lets one job run at a time.
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

#: Seconds between two looks at the files of other processes.
POLL_SECONDS = 0.1
_ID = re.compile(r"[\w-]{8,32}", re.ASCII)


class _JobRecord(msgspec.Struct):
    """The content of ``ID.json``."""

    #: Id of the process that runs the job.
    worker: int
    fields: dict[str, Any]
    ended_at: float
    #: Bytes of its pictures.
    size: int
    #: Number of previews so far.
    previews: int


class RemoteJob:
    """A job of another process, as of the last look at its file. It has the same attributes as ``Job``."""

    def __init__(self, directory: Path, name: str) -> None:
        """
        Raises:
            NotFound: there is no such job.
        """
        self.id = name
        self._directory = directory
        self._previews, self._preview = 0, b""
        self._look()

    def _look(self) -> None:
        path = self._directory / f"{self.id}.json"
        try:
            self._record = msgspec.json.decode(path.read_bytes(), type=_JobRecord)
            changed = path.stat().st_mtime
        except OSError as error:
            raise NotFound(f"there is no job '{self.id}'.", "Results are kept for a limited time.") from error
        if not self.ended and not _is_alive(self._record.worker):
            self._end(Failed("the process that ran the job died.", "Start it again."), changed)

    def _end(self, error: BookserveError, when: float) -> None:
        fields = self._record.fields | {"state": "failed", "error": error_fields(error)}
        self._record = msgspec.structs.replace(self._record, fields=fields, ended_at=when)

    @property
    def state(self) -> str:
        """See ``Job``."""
        return str(self._record.fields["state"])

    @property
    def ended(self) -> bool:
        """See ``Job``."""
        return self.state in ENDED_STATES

    @property
    def ended_at(self) -> float:
        """See ``Job``; if the process died, the time of its last change."""
        return self._record.ended_at

    @property
    def size(self) -> int:
        """See ``Job``."""
        return self._record.size

    @property
    def error(self) -> BookserveError | None:
        """See ``Job``."""
        error = self._record.fields.get("error")
        return BY_CODE[error["code"]](error["message"], error["hint"]) if error else None

    @property
    def preview(self) -> bytes | None:
        """See ``Job``; the same object until there is a newer preview."""
        if self._previews != self._record.previews:
            self._previews, self._preview = self._record.previews, self._read("preview.png") or b""
        return self._preview or None

    @property
    def picture(self) -> bytes | None:
        """See ``Job``."""
        return self._read("png") if self.state == "done" else None

    def _read(self, suffix: str) -> bytes | None:
        with suppress(OSError):
            return (self._directory / f"{self.id}.{suffix}").read_bytes()
        return None

    def fields(self) -> dict[str, Any]:
        """See ``Job``."""
        return dict(self._record.fields)

    async def watch(self) -> AsyncGenerator[None]:
        """See ``Job``."""
        while True:
            before, ended = self._record, self.ended
            yield
            if ended:
                return
            while self._record == before:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    self._look()
                except NotFound as error:
                    self._end(error, time.time())


class JobStore:
    """The jobs of all worker processes of one server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self._previews: dict[str, tuple[int, bytes | None]] = {}

    def publish(self, job: Job) -> None:
        """Write the state of a job of this process, for the others to read."""
        count, written = self._previews.get(job.id, (0, None))
        if job.preview is not written and job.preview is not None:
            count += 1
            self._write(f"{job.id}.preview.png", job.preview)
        self._previews[job.id] = count, job.preview
        if job.picture is not None:
            self._write(f"{job.id}.png", job.picture)
        if job.ended:
            self._previews.pop(job.id, None)
        record = _JobRecord(os.getpid(), job.fields(), job.ended_at, job.size, count)
        self._write(f"{job.id}.json", msgspec.json.encode(record))

    def _write(self, name: str, content: bytes) -> None:
        with suppress(OSError):  # the directory was removed: the server is stopping
            (self._directory / f".{name}").write_bytes(content)
            (self._directory / f".{name}").rename(self._directory / name)

    def names(self) -> set[str]:
        """The ids of all jobs."""
        return {path.stem for path in self._directory.glob("[!.]*.json")}

    def job(self, name: str) -> RemoteJob:
        """The job of that id.

        Raises:
            NotFound: there is no such job.
        """
        if not _ID.fullmatch(name):
            raise NotFound(f"there is no job '{name}'.")
        return RemoteJob(self._directory, name)

    def request_cancel(self, name: str) -> None:
        """Ask the process that runs the job to cancel it."""
        (self._directory / f"{name}.cancel").touch()

    def cancel_requested(self, name: str) -> bool:
        """Whether cancellation of the job was requested."""
        return (self._directory / f"{name}.cancel").exists()

    def remove(self, name: str) -> None:
        """Remove all files of a job."""
        for path in self._directory.glob(f"{name}.*"):
            path.unlink(missing_ok=True)

    @asynccontextmanager
    async def run_lock(self, given_up: Callable[[], bool]) -> AsyncGenerator[None]:
        """Hold the lock that lets one process run a job; stop waiting for it when ``given_up`` returns True."""
        import fcntl  # not on Windows, which has no worker processes either

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

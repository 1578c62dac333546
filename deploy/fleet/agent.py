"""What runs on each machine of a fleet: keeps the wanted servers running, and adopts those that run already.

An agent is an actor of Ray's, but it knows nothing of Ray. All that it must remember is in its directory: an agent that
starts anew finds there which servers are wanted and which processes they are.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec

from bookserve.errors import Failed
from fleet import server_process
from fleet.server_process import Record
from fleet.spec import Server, write_file

#: Seconds between two looks at the processes.
PERIOD = 0.25
#: Seconds for which a server that is to go is announced before it is told to end: proxies send it nothing more.
ANNOUNCED = 1.0
#: Seconds in which it finishes what it accepted; then it is killed.
DRAINED = 60.0
#: Seconds between two starts of a server that does not stay alive, doubled each time up to the second number.
BACKOFF = (0.5, 30.0)

logger = logging.getLogger("bookserve.fleet")


class ServerState(msgspec.Struct, frozen=True):
    """A server as its machine sees it. ``state``: ``ready``, ``starting``, ``draining`` or ``stopped``."""

    host: str
    port: int
    release: int
    state: str
    pid: int = 0
    #: Times that this agent has started it; 0 for one that it adopted.
    starts: int = 0
    cpu_seconds: float = 0.0


class Agent:
    """The servers of one machine."""

    def __init__(self, host: str, state: str, options: Sequence[str] = ()) -> None:
        """
        Args:
            host: address on which the servers of this machine listen.
            state: directory of this machine's bundles, records and logs.
            options: further options of ``bookserve serve``.
        """
        self._host = host
        self._state = Path(state)
        self._options = tuple(options)
        self._lock = threading.Lock()
        self._wanted = self._read_wanted()
        self._leaving: dict[int, float] = {}
        self._starts: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._ready: set[int] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="bookserve-fleet")
        self._thread.start()

    def close(self) -> None:
        """Look after the servers no more. They go on."""
        self._closed.set()
        self._thread.join(30)

    def pull(self, models: str, release: int) -> int:
        """Copy the bundles of a release to this machine; returns how many.

        Raises:
            BookserveError: the address cannot be read, or a bundle is damaged.
        """
        from bookserve.registry.location import Location
        from bookserve.registry.transfer import pull_all

        target = self.models(release)
        target.mkdir(parents=True, exist_ok=True)
        moved = pull_all(Location(models), target, _no_progress)
        if not moved:
            raise Failed(f"there are no models in '{models}'.", "Push bundles there: bookserve push MODEL ADDRESS")
        return len(moved)

    def models(self, release: int) -> Path:
        """Directory of a release's bundles on this machine."""
        return self._state / "releases" / str(release)

    def prune(self, releases: Sequence[int]) -> None:
        """Remove the bundles of all releases but these and those of servers that live."""
        kept = {str(release) for release in releases} | {str(state.release) for state in self.status()}
        for path in (self._state / "releases").iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def want(self, servers: Sequence[Server]) -> None:
        """Run these servers and no others. The others finish what they accepted."""
        with self._lock:
            self._wanted = sorted(servers)
            write_file(self._state / "wanted.json", self._wanted)

    def wanted(self) -> list[Server]:
        """Servers that should run."""
        with self._lock:
            return list(self._wanted)

    def status(self) -> list[ServerState]:
        """Servers that should run, and those that are ending."""
        with self._lock:
            records = {record.server.port: record for record in server_process.read_records(self._state)}
            ports = {server.port: server for server in self._wanted}
            ports |= {port: record.server for port, record in records.items()}
            return [self._state_of(server, records.get(port)) for port, server in sorted(ports.items())]

    def pid(self) -> int:
        """Process of the agent itself."""
        return os.getpid()

    def _state_of(self, server: Server, record: Record | None) -> ServerState:
        if record is None:
            starts = self._starts.get(server.port, 0)
            return ServerState(self._host, server.port, server.release, "stopped", starts=starts)
        leaving = server not in self._wanted
        state = "draining" if leaving else "ready" if record.pid in self._ready else "starting"
        used = server_process.cpu_seconds(record)
        return ServerState(
            self._host, server.port, server.release, state, record.pid, self._starts.get(server.port, 0), used
        )

    def _read_wanted(self) -> list[Server]:
        try:
            return msgspec.json.decode((self._state / "wanted.json").read_bytes(), type=list[Server])
        except (FileNotFoundError, msgspec.DecodeError):
            return []

    def _run(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        try:
            # Ray's workers run with a niceness of 15, which the servers would inherit from this thread.
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        except PermissionError:
            logger.warning("the servers run with low priority: start Ray with RAY_worker_niceness=0")
        # One agent looks after a machine's servers: another one waits until this process or this thread has ended.
        with (self._state / "lock").open("a") as lock:
            while not self._closed.wait(PERIOD):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.look()
                except BlockingIOError:
                    continue
                except Exception:
                    logger.exception("the servers of this machine could not be looked after; trying again")

    def look(self) -> None:
        """Look once: start what is missing, end what is too much."""
        with self._lock:
            records = server_process.read_records(self._state)
            wanted = list(self._wanted)
            for record in records:
                self._end_if_unwanted(record)
            ports = {record.server.port for record in records}
            for server in wanted:
                if server.port not in ports:
                    self._start(server)
        asked = {record.pid: is_ready(self._host, record.server.port) for record in records}
        self._ready = {pid for pid, ready in asked.items() if ready}

    def _end_if_unwanted(self, record: Record) -> None:
        now = time.monotonic()
        if record.server in self._wanted:
            self._leaving.pop(record.pid, None)
            return
        since = now - self._leaving.setdefault(record.pid, now)
        if since > ANNOUNCED + DRAINED:
            server_process.kill(record)
        elif since > ANNOUNCED:
            server_process.drain(record, self._state)

    def _start(self, server: Server) -> None:
        now = time.monotonic()
        if now < self._not_before.get(server.port, 0.0):
            return
        starts = self._starts[server.port] = self._starts.get(server.port, 0) + 1
        self._not_before[server.port] = now + min(BACKOFF[1], BACKOFF[0] * 2 ** min(starts - 1, 10))
        server_process.start(server, self._host, self.models(server.release), self._state, self._options)


def is_ready(host: str, port: int, timeout: float = 1.0) -> bool:
    """Whether a server's ``/readyz`` answers 200."""
    with suppress(OSError, HTTPException), closing(HTTPConnection(host, port, timeout=timeout)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


def _no_progress(_: int, __: int) -> None:
    """Nobody looks on."""

"""Starts one ``bookserve serve`` that outlives its starter, finds it again, and ends it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bookserve.cli.programs import python_command
from fleet.spec import Server, write_file

#: Starts a program in a session of its own, and ends: the program's parent is then process 1, so that neither the end
#: of an actor nor Ray's cleaning up reaches it. Prints its process id.
_DETACH = 'log=$1; shift; setsid "$@" < /dev/null >> "$log" 2>&1 & echo $!'


class Record(msgspec.Struct, frozen=True):
    """A server that was started: process id, and when the process began, in clock ticks since the machine's start.

    A process id is used again in time; together with the start it is not.
    """

    server: Server
    pid: int
    began: int
    #: Whether it was told to end.
    told: bool = False


def start(server: Server, host: str, models: Path, state: Path, options: Sequence[str]) -> Record:
    """Start a server and write its record into ``state``; it is ready some time later."""
    command = python_command("bookserve", "serve", str(models), "--host", host, *options)
    command += ["--http-port", str(server.port), "--grpc-port", str(server.port + 1)]
    log = state / "logs" / f"{server.port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    shell = ["/bin/sh", "-c", _DETACH, "sh", str(log), *command]
    done = subprocess.run(shell, stdout=subprocess.PIPE, check=True, cwd="/", text=True)
    pid = int(done.stdout)
    record = Record(server, pid, _began(pid) or 0)
    write_file(_path(state, server.port), record)
    return record


def read_records(state: Path) -> list[Record]:
    """Records of the servers that were started with this ``state`` and live; those of others are removed."""
    records = []
    for path in sorted((state / "servers").glob("*.json")):
        with suppress(FileNotFoundError):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
            except msgspec.DecodeError:
                path.unlink()
                continue
            if is_alive(record):
                records.append(record)
            else:
                path.unlink(missing_ok=True)
    return records


def is_alive(record: Record) -> bool:
    """Whether the very process that was started runs still."""
    return record.began != 0 and _began(record.pid) == record.began


def drain(record: Record, state: Path) -> None:
    """Tell a server, once, to finish what it accepted and to end: a second signal would end it at once."""
    if is_alive(record) and not record.told:
        write_file(_path(state, record.server.port), msgspec.structs.replace(record, told=True))
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)


def kill(record: Record) -> None:
    """End a server at once."""
    if is_alive(record):
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGKILL)


def cpu_seconds(record: Record) -> float:
    """CPU time in seconds that a server has used, with its workers."""
    ticks = 0
    for pid in (record.pid, *_children(record.pid)):
        with suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _path(state: Path, port: int) -> Path:
    return state / "servers" / f"{port}.json"


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the third: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _began(pid: int) -> int | None:
    """When a process began, or None where there is none that runs."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []

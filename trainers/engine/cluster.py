"""Cluster: the processes that train one model together, told of each other by the variable ``TF_CONFIG``.

On several machines people set it on each and give the same command everywhere. Where it is not set, ``start`` runs the
workers on this machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bookserve.errors import Failed, InvalidInput, NotFound

#: How long the others may go on after the first one has failed, in seconds.
_GRACE_SECONDS = 20.0
#: Exit codes of a first worker that has said all there is to say.
_REPORTED = (0, NotFound.exit_code, InvalidInput.exit_code)


@dataclass(frozen=True)
class WorkerPlace:
    """Which of the workers this process is."""

    addresses: tuple[str, ...]
    index: int

    @property
    def count(self) -> int:
        return len(self.addresses)

    @property
    def chief(self) -> bool:
        """Whether it writes the run."""
        return self.index == 0

    def share(self, devices: list[str]) -> list[str]:
        """Those of a machine's ``devices`` that this worker uses, where several workers run on one machine.

        Raises:
            InvalidInput: there are fewer devices than workers here.
        """
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        here = [index for index, host in enumerate(hosts) if host == hosts[self.index]]
        mine = devices[here.index(self.index) :: len(here)]
        if not mine:
            raise InvalidInput(
                f"{len(here)} workers cannot share {', '.join(devices)}.", "Give fewer workers, or --device cpu."
            )
        return mine


def is_worker() -> bool:
    """Whether this process is one of several workers."""
    return bool(os.environ.get("TF_CONFIG"))


def this_worker() -> WorkerPlace:
    """What ``TF_CONFIG`` says; the first worker, or the one called chief, is number 0.

    Raises:
        InvalidInput: it is not set, or not as TensorFlow wants it.
    """
    try:
        config: dict[str, Any] = json.loads(os.environ["TF_CONFIG"])
        chiefs, workers = (list(config["cluster"].get(kind, ())) for kind in ("chief", "worker"))
        kind, index = config["task"]["type"], int(config["task"]["index"])
        place = WorkerPlace((*chiefs, *workers), {"chief": 0, "worker": len(chiefs)}[kind] + index)
        place.addresses[place.index].index(":")
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise InvalidInput(
            f"TF_CONFIG cannot be used: {type(error).__name__} {error}.",
            'Expected {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}, '
            "or --workers N to start N workers on this machine.",
        ) from error
    return place


def start_workers(words: Sequence[str], count: int) -> int:
    """Run ``bookserve`` with ``words`` in ``count`` processes, of which the first one speaks; return its exit code.

    Raises:
        Failed: a worker failed, for another reason than what the user gave.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(count)]}
    command = [sys.executable, "-m", "bookserve", *words]
    processes: list[subprocess.Popen[bytes]] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # or they would go on alone
    with tempfile.TemporaryFile() as said:
        try:
            for index in range(count):
                task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
                environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
                out, error = (subprocess.DEVNULL, said) if index else (None, None)
                processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=error))
            _wait(processes)
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait() for process in processes]
            signal.signal(signal.SIGTERM, before)
        if codes[0] in _REPORTED:
            return codes[0]
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    why = next((line.removeprefix("error: ") for line in lines if line.startswith("error:")), "nothing")
    raise Failed(f"the workers ended with {codes}; those that are not heard said: {why}", "Go on with --resume.")


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until the first one has ended, or another one has failed and the first had its time to say so."""
    failed = None
    while processes[0].poll() is None:
        if any(process.poll() for process in processes):
            failed = failed or time.monotonic()
            if time.monotonic() - failed > _GRACE_SECONDS:
                return
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

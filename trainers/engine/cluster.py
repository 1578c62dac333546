"""Start the worker processes that train one model together, and read their addresses from ``TF_CONFIG``.

On several machines, users set ``TF_CONFIG`` on each and run the same command. Without it, ``start_workers`` starts all
workers on this machine. Source: the format of TensorFlow's ``TFConfigClusterResolver``.
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

from bookserve.cli.programs import python_command
from bookserve.errors import Failed, InvalidInput, NotFound

#: How long the first worker may run on after another one has failed, in seconds.
_GRACE_SECONDS = 20.0
#: Exit codes after which the first worker has printed a complete message itself.
_REPORTED = (0, NotFound.exit_code, InvalidInput.exit_code)


@dataclass(frozen=True)
class WorkerPlace:
    """The addresses (``host:port``) of all workers, and which of them this process is."""

    addresses: tuple[str, ...]
    index: int

    @property
    def count(self) -> int:
        return len(self.addresses)

    @property
    def chief(self) -> bool:
        """Whether this worker writes the run."""
        return self.index == 0

    def own_devices(self, devices: list[str]) -> list[str]:
        """The part of this machine's ``devices`` that this worker uses; workers on one machine share its devices.

        Raises:
            InvalidInput: the machine has fewer devices than workers.
        """
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        here = [index for index, host in enumerate(hosts) if host == hosts[self.index]]
        mine = devices[here.index(self.index) :: len(here)]
        if not mine:
            raise InvalidInput(
                f"{len(here)} workers cannot share {', '.join(devices)}.", "Start fewer workers, or give --device cpu."
            )
        return mine


def is_worker() -> bool:
    """Whether ``TF_CONFIG`` makes this process one of several workers."""
    return bool(os.environ.get("TF_CONFIG"))


def this_worker() -> WorkerPlace:
    """Read ``TF_CONFIG``; worker 0 is the one called chief, or else the first one.

    Raises:
        InvalidInput: the variable is not set, or does not have TensorFlow's format.
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
    """Run ``bookserve`` with the arguments ``words`` in ``count`` processes; return the first one's exit code.

    Only the first process prints to the terminal.

    Raises:
        Failed: a worker failed for a reason that the first one did not print.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(count)]}
    command = python_command("bookserve", *words)
    processes: list[subprocess.Popen[bytes]] = []
    # SIGTERM would end only this process; as SystemExit it reaches the ``finally`` that ends the workers.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryFile() as errors:
        try:
            for index in range(count):
                task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
                environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
                out, error = (subprocess.DEVNULL, errors) if index else (None, None)
                processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=error))
            _wait(processes)
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait() for process in processes]
            signal.signal(signal.SIGTERM, before)
        if codes[0] in _REPORTED:
            return codes[0]
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    why = next((line.removeprefix("error: ") for line in lines if line.startswith("error:")), "none")
    raise Failed(
        f"the workers ended with {codes}; error of a worker in the background: {why}", "Continue with --resume."
    )


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until the first process ends, or for a limited time after another one has failed."""
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

"""A real server in a process of its own, for all tests: ``with start(models) as server: …``."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

#: Whose HTTP/2 may speak gRPC: what is said over it must be the same.
GRPC_SERVERS = ("grpcio", "builtin")


class Server(NamedTuple):
    """A running ``bookserve serve``."""

    #: ``http://127.0.0.1:<port>``
    http: str
    #: ``grpc://127.0.0.1:<port>``
    grpc: str
    process: subprocess.Popen[str]

    @property
    def grpc_target(self) -> str:
        """``127.0.0.1:<port>``, as gRPC libraries want it."""
        return self.grpc.removeprefix("grpc://")


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row where nothing listens, for programs that must be told their ports.

    They lie below those that Linux gives to connections (from 32768): no connection takes one before the program does.
    """
    while True:
        first = 10_000 + secrets.randbelow(22_000 - count)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


@contextmanager
def start(models: Path, *extra: str, python: str = sys.executable, command: Sequence[str] = ()) -> Iterator[Server]:
    """Serve ``models`` on free ports of 127.0.0.1 until the block ends; ``extra`` are further options of ``serve``.

    ``command`` runs bookserve in another way than ``python -m bookserve``.
    """
    command = [*(command or (python, "-m", "bookserve")), "serve", str(models), "--json"]
    command += ["--http-port", "0", "--grpc-port", "0", *extra]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready:
                process.wait(30)
                log.seek(0)
                raise RuntimeError(f"the server did not start (exit code {process.returncode}):\n{log.read()}")
            addresses = json.loads(ready)
            yield Server(addresses["http"], addresses["grpc"], process)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()

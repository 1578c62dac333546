"""What a fleet should be: the file that ``bookserve fleet up`` writes and every other command reads and changes."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from bookserve.errors import InvalidInput, NotFound


class Server(msgspec.Struct, frozen=True, order=True):
    """One server that should run on a machine. gRPC has the port after ``port``."""

    port: int
    release: int


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet."""

    #: Directory or bucket from which each machine copies the bundles.
    models: str
    #: Counts up with each ``roll``; each machine keeps the bundles of a release in a directory of its own.
    release: int = 1
    #: Names or addresses of Ray's nodes; empty for all that have CPUs.
    nodes: tuple[str, ...] = ()
    #: Servers of the whole fleet, and the bounds between which load may change them.
    servers: int = 1
    minimum: int = 1
    maximum: int = 1
    #: HTTP port of the first server of each machine; the ports after it are the fleet's, too.
    port: int = 8501
    #: Where each machine keeps bundles, logs, and which servers it runs.
    state: str = "/var/lib/bookserve-fleet"
    #: Further options of ``bookserve serve``.
    options: tuple[str, ...] = ()
    #: Address of Ray's head, ``host:port``; 'auto' for the one that runs on this machine.
    ray: str = "auto"
    allow_public: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.servers <= self.maximum:
            raise InvalidInput(
                f"a fleet of {self.servers} servers is not between {self.minimum} and {self.maximum}.",
                "Give 1 <= --min <= --servers <= --max.",
            )


def read_fleet(path: Path) -> Fleet:
    """
    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not the file of a fleet.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Fleet)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file '{path}'.", "Start a fleet first: bookserve fleet up --models …") from error
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path} is not the file of a fleet: {error}.") from error


def write_file(path: Path, value: object) -> None:
    """Write ``value`` as JSON, or a text as it is, so that readers see the old file or the new one."""
    content = value.encode() if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)

"""HAProxy in front of a fleet: its configuration, and the commands that change it while it runs.

Requests for the hot models (a map) go to the server with the fewest connections; requests for another model always to
the same server, by a consistent hash of its name, so that its weights are in one memory only. Servers have slots:
HAProxy's configuration has a fixed number of them, and its runtime socket gives them addresses.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bookserve.errors import Failed, InvalidInput

#: Backend whose servers are checked; the others follow it.
CHECKED = "hashed"
BACKENDS = (CHECKED, "spread", "grpc")


class Balancer(msgspec.Struct, frozen=True, kw_only=True):
    """Where HAProxy listens, and its files."""

    http: str = ":8080"
    grpc: str = ":8090"
    socket: str = "/run/haproxy/fleet.sock"
    #: Names of the hot models, one a line, each followed by 1.
    hot_map: str = "/etc/haproxy/hot.map"
    slots: int = 64
    #: Largest body in bytes that can be sent to a second server after the first one failed.
    retried_bytes: int = 64 * 1024


class Address(msgspec.Struct, frozen=True, order=True):
    """Host and HTTP port of a server; gRPC has the next port."""

    host: str
    port: int


def configuration(balancer: Balancer, slots: Mapping[int, Address]) -> str:
    """Text of ``haproxy.cfg`` for HAProxy 2.6 or newer.

    Args:
        slots: the servers, by number of their slots (1 … ``balancer.slots``).

    Raises:
        InvalidInput: no server.
    """
    if not slots:
        raise InvalidInput("HAProxy needs at least one server.", "Start the fleet first.")

    def servers(backend: str) -> str:
        lines = []
        for slot in range(1, balancer.slots + 1):
            address = slots.get(slot, Address("127.0.0.1", 1))
            port = address.port + (backend == "grpc")
            options = "check" if backend == CHECKED else f"track {CHECKED}/s{slot}"
            options += " proto h2" if backend == "grpc" else ""
            options += "" if slot in slots or backend != CHECKED else " disabled"
            lines.append(f"    server s{slot} {address.host}:{port} {options}")
        return "\n".join(lines)

    return f"""\
# Written by `bookserve fleet`, which also changes the running HAProxy through its socket.
global
    maxconn 4000
    stats socket {balancer.socket} mode 600 level admin
    # A request that no server has answered is sent to another one if it fits into a buffer.
    tune.bufsize {balancer.retried_bytes}

defaults
    mode http
    option http-keep-alive
    option redispatch 1
    http-reuse safe
    retries 4
    retry-on conn-failure empty-response response-timeout 502 503
    timeout connect 1s
    timeout client 300s
    timeout server 300s
    # A server that is slow because it is busy must not be taken for dead: then all would be, one after the other.
    timeout check 10s

frontend http
    bind {balancer.http}
    http-request del-header Forwarded
    option forwardfor
    # /v1/models/NAME:predict, /v2/models/NAME/infer, /api/models/NAME/predict
    http-request set-var(txn.model) path,field(4,/),regsub(:.*,)
    use_backend spread if {{ var(txn.model),map_str({balancer.hot_map}) -m found }}
    use_backend {CHECKED} if {{ path_beg /v1/models/ /v2/models/ /api/models/ }}
    default_backend spread

frontend grpc
    bind {balancer.grpc} proto h2
    default_backend grpc

backend {CHECKED}
    balance hash var(txn.model)
    hash-type consistent sdbm avalanche
    option httpchk GET /readyz
    http-check expect status 200
    default-server inter 500ms fastinter 100ms downinter 500ms fall 1 rise 1
    default-server observe layer4 error-limit 1 on-error mark-down
    # A server has 16 places on the ring for each unit of weight: with few of them the shares differ by a third.
    default-server weight 64
    # A machine that no longer acknowledges what it is sent for 2 s is gone; the request goes to another.
    default-server tcp-ut 2000
{servers(CHECKED)}

backend spread
    balance leastconn
    default-server tcp-ut 2000
{servers("spread")}

backend grpc
    # Calls in turn, also those of one connection: each server gets as many.
    balance roundrobin
    default-server tcp-ut 2000
{servers("grpc")}
"""


def hot_map(models: Iterable[str]) -> str:
    """Text of the map's file."""
    return "".join(f"{name} 1\n" for name in sorted(models))


def assign(slots: Mapping[int, Address], addresses: Sequence[Address], count: int) -> dict[int, Address]:
    """Give each address a slot: the one that it has, or the first that is free. Slots of other addresses become free.

    Raises:
        InvalidInput: no address at all, or more than slots.
    """
    if not addresses:
        raise InvalidInput("a list of no servers is never given to HAProxy.", "Check `bookserve fleet status`.")
    if len(addresses) > count:
        raise InvalidInput(
            f"{len(addresses)} servers need more than {count} slots.", "Give `fleet balance` more --slots."
        )
    kept = {slot: address for slot, address in slots.items() if address in addresses}
    free = (slot for slot in range(1, count + 1) if slot not in kept)
    for address in sorted(set(addresses) - set(kept.values())):
        kept[next(free)] = address
    return dict(sorted(kept.items()))


def changes(old: Mapping[int, Address], new: Mapping[int, Address]) -> list[str]:
    """Commands for the runtime socket that turn one assignment into another. Servers join before others leave."""
    commands = []
    for slot, address in sorted(new.items()):
        if old.get(slot) != address:
            for backend in BACKENDS:
                port = address.port + (backend == "grpc")
                commands.append(f"set server {backend}/s{slot} addr {address.host} port {port}")
            # Down until the first check has passed.
            commands.append(f"set server {CHECKED}/s{slot} health down")
            commands.append(f"set server {CHECKED}/s{slot} state ready")
    commands += [f"set server {CHECKED}/s{slot} state maint" for slot in sorted(set(old) - set(new))]
    return commands


def map_changes(file: str, old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Commands that turn one set of hot models into another."""
    before, after = set(old), set(new)
    added = [f"add map {file} {name} 1" for name in sorted(after - before)]
    return added + [f"del map {file} {name}" for name in sorted(before - after)]


class RuntimeSocket:
    """HAProxy's runtime socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, command: str) -> str:
        """Run one command; returns what HAProxy says.

        Raises:
            Failed: HAProxy does not listen there.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self._path))
                connection.sendall(f"{command}\n".encode())
                parts = []
                while part := connection.recv(65536):
                    parts.append(part)
        except OSError as error:
            raise Failed(f"HAProxy does not answer at {self._path}: {error}.", "Is it running?") from error
        return b"".join(parts).decode(errors="replace").strip()

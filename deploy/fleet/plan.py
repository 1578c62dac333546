"""Decides how many servers a fleet has, on which machines, and which models every server serves; pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fleet.spec import Server

#: A server may be busy for this share of its cores' time, and let requests wait so many seconds on average.
CPU_SHARE = 0.7
QUEUE_SECONDS = 0.02
#: The number of servers stays when the load is so near to what it should be.
TOLERANCE = 0.1
#: Periods in a row with less load before a server is stopped.
CALM_PERIODS = 5


class Load(msgspec.Struct, frozen=True):
    """Load of a fleet in one period: mean seconds in queues, and the share of its cores' time that a server used."""

    queue_seconds: float
    cpu_share: float


def place(nodes: Sequence[str], servers: int, running: Mapping[str, int]) -> dict[str, int]:
    """Servers of each node: as even as possible, and where it is the same, where they are already.

    Args:
        nodes: names of the nodes, at least one.
        servers: servers of the whole fleet.
        running: servers that each node has now; other nodes may be in it.
    """
    each, more = divmod(servers, len(nodes))
    order = sorted(nodes, key=lambda node: (-running.get(node, 0), nodes.index(node)))
    extra = set(order[:more])
    return {node: each + (node in extra) for node in nodes}


def choose_servers(
    running: Sequence[Server], count: int, release: int, first_port: int, taken: Iterable[int] = ()
) -> list[Server]:
    """The servers of one machine: those of ``release`` that run, fewer or more, on ports that nobody has.

    Args:
        running: servers that the machine should run now.
        taken: ports that other processes of the machine still have.
    """
    kept = sorted(server for server in running if server.release == release)[:count]
    used = {server.port for server in running} | set(taken)
    port = first_port
    while len(kept) < count:
        if port not in used:
            kept.append(Server(port, release))
        port += 2
    return sorted(kept)


def wanted_servers(load: Load, servers: int, minimum: int, maximum: int, calm: int) -> int:
    """How many servers the load of the last period needs.

    Up at once, by the ratio of what is measured to what should be. Down by one, and only after ``CALM_PERIODS``.

    Args:
        calm: periods in a row, with this one, whose load fewer servers would have borne.
    """
    ratio = max(load.cpu_share / CPU_SHARE, load.queue_seconds / QUEUE_SECONDS)
    if ratio > 1 + TOLERANCE:
        return min(maximum, max(servers + 1, math.ceil(servers * min(ratio, 2))))
    if is_calm(load, servers) and calm >= CALM_PERIODS:
        return max(minimum, servers - 1)
    return min(maximum, max(minimum, servers))


def is_calm(load: Load, servers: int) -> bool:
    """Whether one server fewer would have borne this load."""
    cpu = load.cpu_share * servers / max(servers - 1, 1)
    return cpu < CPU_SHARE * (1 - TOLERANCE) and load.queue_seconds < QUEUE_SECONDS / 2


def hot_models(requests: Mapping[str, float], hot: Sequence[str] = (), limit: int = 10) -> list[str]:
    """Models that every server should hold, sorted: the most asked ones. Every other model is held by one server.

    A change costs loads, so a model takes the place of a hot one only with half as many requests again.

    Args:
        requests: requests of each model in the last period.
        hot: models that are hot now.
        limit: at most so many.
    """
    weights = {name: count * (1.5 if name in hot else 1) for name, count in requests.items() if count > 0}
    return sorted(sorted(weights, key=lambda name: (-weights[name], name))[:limit])

"""Looks after a fleet through Ray: restores agents, follows the load, and reports the servers line by line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bookserve.errors import BookserveError, NotReady
from fleet import cluster, control, metrics, plan
from fleet.agent import ServerState
from fleet.spec import read_fleet, write_file


class Report(msgspec.Struct, frozen=True):
    """Servers of the machines that answered; ``hosts`` are those machines."""

    hosts: list[str]
    servers: list[ServerState]


class Autoscaler:
    """Measures the load between two reports, and decides how many servers it needs."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float, metrics.Counts]] = {}
        self._calm = 0

    def measure(self, servers: list[ServerState], now: float) -> plan.Load | None:
        """Load since the last call, of the servers that were there then and are ready now; None if there is none."""
        seen: dict[int, tuple[float, float, metrics.Counts]] = {}
        shares, counts = [], []
        for server in servers:
            if server.state != "ready" or (found := metrics.read_counts(server.host, server.port)) is None:
                continue
            seen[server.pid] = now, server.cpu_seconds, found
            if server.pid in self._last:
                then, cpu, old = self._last[server.pid]
                shares.append((server.cpu_seconds - cpu) / max(now - then, 1e-3))
                counts.append(metrics.since(old, found))
        self._last = seen
        if not shares:
            return None
        waited = metrics.total(counts)
        return plan.Load(waited.queue_seconds / max(waited.queued, 1), sum(shares) / len(shares))

    def decide(self, load: plan.Load, servers: int, minimum: int, maximum: int) -> int:
        """Servers that the fleet should have; see ``plan.wanted_servers``."""
        self._calm = self._calm + 1 if plan.is_calm(load, servers) else 0
        wanted = plan.wanted_servers(load, servers, minimum, maximum, self._calm)
        if wanted != servers:
            self._calm = 0
        return wanted


def watch(path: Path, period: float, scale_period: float) -> Iterator[Report]:
    """Report the fleet of a file every ``period`` seconds, for ever.

    The file is read each time: what another command changes in it is followed.

    Args:
        scale_period: seconds between two decisions about the number of servers; 0: it stays.

    Raises:
        NotReady: Ray does not answer.
    """
    cluster.connect(read_fleet(path))
    scaler, decided = Autoscaler(), time.monotonic()
    while True:
        fleet = read_fleet(path)
        members = cluster.members(fleet)
        found = control.read_status(members)
        if members and not found:
            raise NotReady("no machine of the fleet answers.", "Look at `ray status`.")
        servers = [server for states in found.values() for server in states]
        yield Report(sorted(found), servers)
        now = time.monotonic()
        if scale_period and fleet.minimum < fleet.maximum and now - decided >= scale_period:
            decided = now
            load = scaler.measure(servers, now)
            wanted = scaler.decide(load, fleet.servers, fleet.minimum, fleet.maximum) if load else fleet.servers
            if wanted != fleet.servers:
                fleet = msgspec.structs.replace(fleet, servers=wanted)
                try:
                    control.scale(fleet, members)
                    write_file(path, fleet)
                except BookserveError:
                    continue  # a machine has just gone; the next period decides anew
        time.sleep(period)

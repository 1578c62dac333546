"""Keeps HAProxy's list of servers as the fleet reports it. Without Ray the list stays as it is.

Ray is asked by a process of its own (``bookserve fleet watch``): one that loses its head may end, and is started again.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bookserve.cli.programs import python_command
from bookserve.errors import BookserveError
from fleet import haproxy, metrics, plan
from fleet.haproxy import Address, Balancer, RuntimeSocket
from fleet.spec import write_file
from fleet.watch import Report

#: Seconds between two starts of the process that asks Ray.
_AGAIN = 2.0
#: Seconds between two looks at which models are asked most.
_HOT_PERIOD = 10.0

logger = logging.getLogger("bookserve.fleet")


def next_addresses(current: Sequence[Address], report: Report) -> list[Address]:
    """Servers that should get requests, after a report.

    A server joins when it is ready. It leaves only when its own machine says that it is ending or gone: one whose
    machine does not answer stays, for HAProxy's own checks know better. The list is never emptied.
    """
    ready = {Address(server.host, server.port) for server in report.servers if server.state == "ready"}
    # One that starts anew on its port keeps its place.
    stay = {Address(server.host, server.port) for server in report.servers if server.state in ("starting", "stopped")}
    kept = [address for address in current if address in stay or address.host not in report.hosts]
    return sorted({*kept, *ready}) or list(current)


class State(msgspec.Struct, frozen=True):
    """What the configuration has: slots and hot models. Kept beside it, for the next start."""

    slots: dict[int, Address] = {}
    hot: tuple[str, ...] = ()


class Balance:
    """One HAProxy and its files."""

    def __init__(self, config: Path, balancer: Balancer, hot_limit: int) -> None:
        """
        Args:
            config: path of ``haproxy.cfg``, which is written.
            hot_limit: how many models every server should hold.
        """
        self._config = config
        self._balancer = balancer
        self._hot_limit = hot_limit
        self._socket = RuntimeSocket(Path(balancer.socket))
        self._kept = config.with_name(f"{config.name}.state")
        self.state = self._read()
        self._counts: dict[Address, metrics.Counts] = {}

    def apply(self, report: Report) -> bool:
        """Follow a report; returns whether HAProxy has what the files say.

        Raises:
            InvalidInput: more servers than slots.
        """
        addresses = next_addresses(list(self.state.slots.values()), report)
        if not addresses:
            return False  # nothing is ready yet
        slots = haproxy.assign(self.state.slots, addresses, self._balancer.slots)
        commands = haproxy.changes(self.state.slots, slots)
        return self._change(State(slots, self.state.hot), commands)

    def follow_requests(self) -> bool:
        """Choose the hot models anew, by the requests since the last call; returns as ``apply``."""
        counts = {address: metrics.read_counts(address.host, address.port) for address in self.state.slots.values()}
        seen = {address: count for address, count in counts.items() if count is not None}
        grown = [metrics.since(self._counts.get(address, metrics.Counts()), count) for address, count in seen.items()]
        self._counts = seen
        asked = {name: count for name, count in metrics.total(grown).requests.items() if name != metrics.OTHER}
        if not asked:
            return True
        hot = plan.hot_models(asked, self.state.hot, self._hot_limit)
        commands = haproxy.map_changes(self._balancer.hot_map, self.state.hot, hot)
        return self._change(State(self.state.slots, tuple(hot)), commands)

    def _change(self, state: State, commands: Sequence[str]) -> bool:
        """Write the files first: an HAProxy that starts at this moment has the new list."""
        if not commands and self._config.exists():
            return True
        write_file(Path(self._balancer.hot_map), haproxy.hot_map(state.hot))
        write_file(self._config, haproxy.configuration(self._balancer, state.slots))
        write_file(self._kept, state)
        self.state = state
        try:
            for command in commands:
                if (said := self._socket.run(command)) and not said.startswith(_FINE):
                    logger.warning("HAProxy: %s: %s", command, said)
        except BookserveError as error:
            logger.info("%s The files are written for its next start.", error.message)
            return False
        return True

    def _read(self) -> State:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode(self._kept.read_bytes(), type=State)
        return State()


#: How HAProxy begins what it says about a command that it has carried out.
_FINE = ("IP changed", "port changed", "no need to change", "nothing changed")


def read_report(line: bytes) -> Report | None:
    """A line of ``bookserve fleet watch --json``; None where it is not one: Ray prints its own."""
    try:
        return msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        logger.warning("Ray: %s", line.decode(errors="replace").strip())
        return None


def run(fleet: Path, balance: Balance, scale_period: float) -> None:
    """Follow the fleet of a file until the process is ended."""
    last_hot = time.monotonic()
    while True:
        command = python_command("bookserve", "fleet", "watch", "--fleet", str(fleet), "--json")
        with subprocess.Popen([*command, "--autoscale", str(scale_period)], stdout=subprocess.PIPE) as child:
            try:
                for report in filter(None, map(read_report, child.stdout or ())):
                    balance.apply(report)
                    if time.monotonic() - last_hot >= _HOT_PERIOD:
                        last_hot = time.monotonic()
                        balance.follow_requests()
            finally:
                child.terminate()
        logger.warning("Ray does not answer; HAProxy keeps its list")
        time.sleep(_AGAIN)

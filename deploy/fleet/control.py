"""Changes a fleet through the agents of its machines: start, scale, roll to other models, stop.

A member is an agent of ``fleet.agent``, or an actor of Ray's that stands for one: both have the same methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from bookserve.errors import BookserveError, Failed, NotFound
from fleet import metrics, plan
from fleet.agent import ServerState
from fleet.spec import Fleet, Server

#: Share of its requests that a canary may fail beyond what the others fail.
CANARY_FAILURES = 0.01
#: Seconds between two looks while something is waited for.
_LOOK = 0.2


class Member(Protocol):
    """One machine of a fleet; see ``fleet.agent.Agent``."""

    def pull(self, models: str, release: int) -> int: ...
    def want(self, servers: Sequence[Server]) -> None: ...
    def wanted(self) -> list[Server]: ...
    def status(self) -> list[ServerState]: ...
    def prune(self, releases: Sequence[int]) -> None: ...


def up(fleet: Fleet, members: Mapping[str, Member], seconds: float) -> None:
    """Copy the models to all machines, start the servers, and wait until they are ready.

    Servers that run already are adopted.

    Raises:
        Failed: a machine cannot read the models, or a server is not ready in time.
    """
    _pull(fleet, members)
    scale(fleet, members)
    for node, member in members.items():
        _wait_ready(node, member, member.wanted(), seconds)


def scale(fleet: Fleet, members: Mapping[str, Member]) -> None:
    """Give each machine its share of ``fleet.servers``; servers that are too many drain."""
    _check(members)
    running = {node: len(member.wanted()) for node, member in members.items()}
    counts = plan.place(sorted(members), fleet.servers, running)
    # More servers first: there are never fewer than before and after.
    for node in sorted(members, key=lambda node: running[node] - counts[node]):
        wanted = members[node].wanted()
        new = plan.choose_servers(wanted, counts[node], fleet.release, fleet.port, _ports(members[node]))
        if new != wanted:
            members[node].want(new)


def roll(
    fleet: Fleet,
    members: Mapping[str, Member],
    models: str,
    seconds: float,
    canary_seconds: float,
    say: Callable[[str], object],
) -> Fleet:
    """Replace each server by one that serves ``models``: the new one becomes ready before the old one drains.

    The first one is the canary: it serves beside the others for ``canary_seconds``. If it fails more requests than
    they do, or any new server is not ready within ``seconds``, everything goes back to the old models.

    Returns:
        The fleet as it is now.

    Raises:
        Failed: it was rolled back, or the models cannot be copied, and nothing has changed.
    """
    _check(members)
    new = msgspec.structs.replace(fleet, models=models, release=fleet.release + 1)
    _pull(new, members)
    before = {node: member.wanted() for node, member in members.items()}
    canary = canary_seconds
    try:
        for node, member in sorted(members.items()):
            for old in before[node]:
                wanted = member.wanted()
                added = _one_more(wanted, new, member)
                member.want(sorted([*wanted, added]))
                _wait_ready(node, member, [added], seconds)
                if canary:
                    say(f"{node}:{added.port} is the canary for {canary:g} s")
                    _watch_canary(members, node, added, canary)
                    canary = 0.0
                member.want(sorted([*(server for server in wanted if server != old), added]))
                say(f"{node}:{added.port} has taken the place of {node}:{old.port}")
    except BookserveError as error:
        _go_back(members, before, seconds)
        raise Failed(f"rolled back to the old models: {error.message}", error.hint) from error
    for member in members.values():
        member.prune([fleet.release, new.release])
    return new


def down(members: Mapping[str, Member], seconds: float) -> None:
    """Let every server finish and end.

    Raises:
        Failed: some live still after ``seconds``.
    """
    for member in members.values():
        member.want([])
    until = time.monotonic() + seconds
    while left := [state for member in members.values() for state in member.status()]:
        if time.monotonic() > until:
            raise Failed(f"{len(left)} servers have not ended in {seconds:g} s.", "They are killed after a minute.")
        time.sleep(_LOOK)


def read_status(members: Mapping[str, Member]) -> dict[str, list[ServerState]]:
    """Servers by node, of the nodes that answer."""
    found = {}
    with ThreadPoolExecutor(max(len(members), 1)) as pool:
        asked = {node: pool.submit(member.status) for node, member in members.items()}
        for node, answer in asked.items():
            try:
                found[node] = answer.result()
            except BookserveError:
                continue
    return found


def _check(members: Mapping[str, Member]) -> None:
    if not members:
        raise NotFound("Ray has no node for this fleet.", "Run `ray start --address=…` on the machines; see --nodes.")


def _pull(fleet: Fleet, members: Mapping[str, Member]) -> None:
    _check(members)
    with ThreadPoolExecutor(len(members)) as pool:
        for pulled in [pool.submit(member.pull, fleet.models, fleet.release) for member in members.values()]:
            pulled.result()


def _ports(member: Member) -> list[int]:
    return [state.port for state in member.status()]


def _one_more(wanted: Sequence[Server], fleet: Fleet, member: Member) -> Server:
    """One server more of this release, on a port that nobody has, not even one that is ending."""
    kept = [server for server in wanted if server.release == fleet.release]
    grown = plan.choose_servers(wanted, len(kept) + 1, fleet.release, fleet.port, _ports(member))
    return next(server for server in grown if server not in kept)


def _wait_ready(node: str, member: Member, servers: Iterable[Server], seconds: float) -> None:
    missing = set(servers)
    until = time.monotonic() + seconds
    while missing:
        ready = {Server(state.port, state.release) for state in member.status() if state.state == "ready"}
        missing -= ready
        if missing and time.monotonic() > until:
            port = min(missing).port
            raise Failed(
                f"the server {node}:{port} is not ready after {seconds:g} s.",
                f"Its log is logs/{port}.log in the directory that --state names, on {node}.",
            )
        time.sleep(_LOOK)


def _watch_canary(members: Mapping[str, Member], node: str, canary: Server, seconds: float) -> None:
    """Compare the canary with the other servers while it serves.

    Raises:
        Failed: it died, or fails more of its requests than the others.
    """
    states = [state for found in read_status(members).values() for state in found if state.state == "ready"]
    first = {(state.host, state.port): metrics.read_counts(state.host, state.port) for state in states}
    (own,) = [(s.host, s.port, s.pid) for s in members[node].status() if s.port == canary.port]
    time.sleep(seconds)
    state = next((s for s in members[node].status() if s.port == canary.port), None)
    if state is None or state.pid != own[2]:
        raise Failed(f"the canary {node}:{canary.port} died.")
    grown = {}
    for address, old in first.items():
        now = metrics.read_counts(*address)
        if old and now:
            grown[address] = metrics.since(old, now)
    mine = grown.pop(own[:2], metrics.Counts())
    share = mine.failed / max(sum(mine.requests.values()), 1)
    others = metrics.total(list(grown.values()))
    usual = others.failed / max(sum(others.requests.values()), 1)
    if share > usual + CANARY_FAILURES:
        raise Failed(f"the canary {node}:{canary.port} failed {share:.1%} of its requests, the others {usual:.1%}.")


def _go_back(members: Mapping[str, Member], before: Mapping[str, Sequence[Server]], seconds: float) -> None:
    """Start the old servers that have ended, and only then end the new ones."""
    for node, member in members.items():
        member.want(sorted({*member.wanted(), *before[node]}))
    for node, member in members.items():
        _wait_ready(node, member, before[node], seconds)
        member.want(list(before[node]))

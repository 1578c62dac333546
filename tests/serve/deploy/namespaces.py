"""Machines made of network namespaces: a bridge, and behind each of its ports a machine with an address of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

#: Addresses of the bridge; nothing outside has a way to them.
NETWORK = "10.77.0"

_networks = count()


class Machine:
    """A network namespace."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.host = f"{NETWORK}.{number}"
        self.link = f"v{name}"

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs in this machine."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, timeout: float = 120, env: dict[str, str] | None = None) -> str:
        """Run a command to its end; returns what it prints."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, check=False, env=env
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def pids(self) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return list(map(int, found.stdout.split()))

    def kill(self, among: Sequence[str] = ("",)) -> None:
        """End at once every process of this machine whose command line contains one of the texts."""
        for pid in self.pids():
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if any(text in line for text in among):
                    os.kill(pid, signal.SIGKILL)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def machines(number: int) -> Iterator[tuple[Machine, list[Machine]]]:
    """The machine with the bridge, and so many more. Their processes and networks are gone afterwards."""
    prefix = f"b{os.getpid() % 100000}x{next(_networks)}"
    center = Machine(f"{prefix}lb", 254)
    others = [Machine(f"{prefix}n{place}", 10 + place) for place in range(number)]
    try:
        ip("netns", "add", center.name)
        ip("-n", center.name, "link", "set", "lo", "up")
        ip("-n", center.name, "link", "add", "br0", "type", "bridge")
        ip("-n", center.name, "addr", "add", f"{center.host}/24", "dev", "br0")
        ip("-n", center.name, "link", "set", "br0", "up")
        for machine in others:
            ip("netns", "add", machine.name)
            ip("-n", machine.name, "link", "set", "lo", "up")
            peer = ("type", "veth", "peer", "name", "eth0", "netns", machine.name)
            ip("link", "add", machine.link, "netns", center.name, *peer)
            ip("-n", center.name, "link", "set", machine.link, "master", "br0", "up")
            ip("-n", machine.name, "addr", "add", f"{machine.host}/24", "dev", "eth0")
            ip("-n", machine.name, "link", "set", "eth0", "up")
            ip("-n", machine.name, "route", "add", "default", "via", center.host)
        yield center, others
    finally:
        for machine in (center, *others):
            machine.kill()
            subprocess.run(["ip", "netns", "delete", machine.name], check=False, capture_output=True)

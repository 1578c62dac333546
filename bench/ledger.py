"""Book: what happened in a soak, and what every answer must be.

A request is *lost* where it got no answer, unless its connection ended with a worker that was killed (then it is sent
again, and must succeed), or unless the server had been told to stop before the whole request was handed to the kernel.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

#: Seconds after a kill in which a connection may be found to have ended with the worker.
AFTERMATH = 1.0


class WrongError(Exception):
    """An answer that is not what it must be."""


class EndedError(Exception):
    """The connection ended before the answer did."""


class Book:
    """What happened."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        #: Requests whose connection ended with a killed worker, sent again.
        self.resent: Counter[str] = Counter()
        #: Requests refused after the server had been told to stop.
        self.refused: Counter[str] = Counter()
        self.mischief: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.lost: list[str] = []
        #: When a worker was killed, and the clients' ports of the connections that it had.
        self.kills: list[tuple[float, set[int]]] = []
        self.stopped = float("inf")
        #: Numbers of versions that can be served, of ones that cannot, and of those that answered.
        self.good, self.broken, self.seen = {1}, set[int](), set[int]()
        self.over = False

    def killed(self, opened: float, port: int | None = None) -> bool:
        """Whether a connection that has just ended, from ``port``, ended with a worker.

        One that no worker had accepted yet belongs to whoever was killed within moments of its opening. gRPC does not
        tell its port: any call is excused that began before a kill and ended just after it.
        """
        now = time.perf_counter()
        for kill, ports in self.kills:
            known = opened <= kill + AFTERMATH if port is None else port in ports or abs(opened - kill) <= AFTERMATH / 2
            if known and kill <= now <= kill + 2 * AFTERMATH:
                return True
        return False

    def check(self, x: np.ndarray, y: Any, version: int | None = None) -> None:
        """``y`` must be what one version gives for ``x`` (its number is what it adds), and that one must be whole."""
        shifts = np.unique(np.asarray(y, np.float32) - 2 * x)
        if len(shifts) != 1:
            raise WrongError(f"{x.tolist()} gave {np.asarray(y).tolist()}")
        found = int(shifts[0])
        if found not in self.good or version not in (None, found):
            raise WrongError(f"version {version} added {shifts[0]}")
        self.seen.add(found)

"""Record what happened in a soak, and check every answer.

A request is *lost* where it got no answer, with two exceptions: its connection ended because the soak killed a worker
(then it is sent again, and must succeed), or SIGTERM was sent before the whole request was handed to the kernel.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

#: Seconds after a kill in which a connection may be found to have ended with the worker.
AFTERMATH = 1.0


class WrongAnswerError(Exception):
    """An answer that differs from the expected one."""


class ConnectionEndedError(Exception):
    """The connection ended before the answer was complete."""


class Ledger:
    """Everything that happened in one soak."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        #: Requests whose connection ended with a killed worker, sent again.
        self.resent: Counter[str] = Counter()
        #: Requests refused after SIGTERM.
        self.refused: Counter[str] = Counter()
        #: Slow, leaving and malformed clients, by what they did.
        self.chaos: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.lost: list[str] = []
        #: When a worker was killed, and the clients' ports of the connections that it had.
        self.kills: list[tuple[float, set[int]]] = []
        #: When SIGTERM was sent.
        self.stopped = float("inf")
        #: Numbers of the versions that can be served, that cannot, and that answered.
        self.whole_versions, self.broken_versions, self.answered_versions = {1}, set[int](), set[int]()
        #: Whether the clients must end.
        self.over = False

    def ended_by_kill(self, opened: float, port: int | None = None) -> bool:
        """Whether a connection that has just ended, from ``port``, ended because its worker was killed.

        A connection that no worker had accepted yet counts, if it was opened within moments of a kill. gRPC does not
        say its port: a call counts that began before a kill and ended just after it.
        """
        now = time.perf_counter()
        for kill, ports in self.kills:
            known = opened <= kill + AFTERMATH if port is None else port in ports or abs(opened - kill) <= AFTERMATH / 2
            if known and kill <= now <= kill + 2 * AFTERMATH:
                return True
        return False

    def check_answer(self, x: np.ndarray, y: Any, version: int | None = None) -> None:
        """Check that ``y`` is what one whole version computes for ``x``: ``2 x`` plus the version's number.

        Raises:
            WrongAnswerError: it is not, or it is the answer of another version than ``version``.
        """
        shifts = np.unique(np.asarray(y, np.float32) - 2 * x)
        if len(shifts) != 1:
            raise WrongAnswerError(f"{x.tolist()} gave {np.asarray(y).tolist()}")
        found = int(shifts[0])
        if found not in self.whole_versions or version not in (None, found):
            raise WrongAnswerError(f"version {version} added {shifts[0]}")
        self.answered_versions.add(found)

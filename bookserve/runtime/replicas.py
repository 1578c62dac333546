"""A graph on several GPUs of one machine: while it is hot, it is opened on further ones, which share large batches.

A graph is hot if large batches keep its GPU busy for more than half of some seconds. Opening it elsewhere happens in a
thread; meanwhile its first GPU goes on. A GPU that fails is left out, as long as another one has the graph.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from bookserve.runtime.base import Session
from bookserve.runtime.devices import DeviceLost

#: Rows that each GPU gets at least: fewer take hardly longer together.
LEAST_ROWS = 64
#: Seconds over which it is seen whether a graph is hot, and the share of them that its GPU must be busy.
WINDOW, _BUSY = 5.0, 0.5

logger = logging.getLogger("bookserve")

#: Opens the graph on a GPU that is not one of those named; None if there is none with enough memory.
OpenNext = Callable[[Collection[str]], tuple[str, Session] | None]
#: Counts a run: the GPU, its rows, its seconds.
Count = Callable[[str, int, float], None]


class ReplicaSession:
    """A graph on one GPU, and on up to ``most`` while it is hot; see ``Session``."""

    def __init__(
        self, first: Session, device: str, open_next: OpenNext, most: int, clock: Callable[[], float], where: str
    ) -> None:
        """``device`` is the GPU of the ``first`` session; ``where`` names the graph in the log."""
        self._sessions = {device: first}
        self._open_next = open_next
        self._most = most
        self._clock = clock
        self._where = where
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="replica")
        self._since, self._busy = clock(), 0.0
        #: The thread that opens the graph on a further GPU; None if none does.
        self.opening: threading.Thread | None = None
        #: Is told of every run.
        self.count: Count = lambda device, rows, seconds: None

    @property
    def devices(self) -> list[str]:
        """The GPUs that have the graph."""
        return list(self._sessions)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph, on all GPUs that have it if there are rows enough; see ``Session.run``.

        Raises:
            DeviceLost: the last GPU that had the graph has failed.
        """
        rows = len(next(iter(feeds.values())))
        start = self._clock()
        while True:
            sessions = list(self._sessions.items())[: max(1, rows // LEAST_ROWS)]
            try:
                outputs = self._run_parts(sessions, feeds, rows)
            except _ReplicaLost as lost:
                if len(self._sessions) == 1:
                    raise lost.error from lost
                self._sessions = {name: one for name, one in self._sessions.items() if name != lost.device}
                logger.warning("%s runs without %s from now on: %s", self._where, lost.device, lost.error.message)
                continue
            if rows >= 2 * LEAST_ROWS:
                self._note_busy(self._clock() - start)
            return outputs

    def _run_parts(self, sessions: list[tuple[str, Session]], feeds: Mapping[str, np.ndarray], rows: int) -> Arrays:
        if len(sessions) == 1:
            return self._run_on(*sessions[0], feeds, rows)
        ends = [rows * number // len(sessions) for number in range(len(sessions) + 1)]
        running = [
            self._threads.submit(
                self._run_on, *one, {name: array[start:end] for name, array in feeds.items()}, end - start
            )
            for one, start, end in zip(sessions, ends, ends[1:], strict=False)
        ]
        parts = [future.result() for future in running]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_on(self, device: str, session: Session, feeds: Mapping[str, np.ndarray], rows: int) -> Arrays:
        start = self._clock()
        try:
            outputs = session.run(feeds)
        except DeviceLost as error:
            raise _ReplicaLost(device, error) from error
        self.count(device, rows, self._clock() - start)
        return outputs

    def _note_busy(self, seconds: float) -> None:
        self._busy += seconds
        elapsed = self._clock() - self._since
        if elapsed < WINDOW:
            return
        hot = self._busy / elapsed > _BUSY
        self._since, self._busy = self._clock(), 0.0
        if hot and len(self._sessions) < self._most and not (self.opening and self.opening.is_alive()):
            self.opening = threading.Thread(target=self._open_another, daemon=True)
            self.opening.start()

    def _open_another(self) -> None:
        try:
            found = self._open_next(self._sessions.keys())
        except BookserveError as error:
            logger.warning("%s is hot, but cannot be opened on another GPU: %s", self._where, error.message)
            self._most = len(self._sessions)
            return
        if found is None:
            self._most = len(self._sessions)  # there will not be another one
            return
        self._sessions = {**self._sessions, found[0]: found[1]}
        logger.info("%s is hot: it runs on %s, too", self._where, found[0])


class _ReplicaLost(Exception):  # noqa: N818 - carries the error
    def __init__(self, device: str, error: DeviceLost) -> None:
        super().__init__(device)
        self.device, self.error = device, error

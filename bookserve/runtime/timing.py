"""Times a graph on the CPU and on a GPU, and decides from it which of the two runs a batch.

Which one is faster depends on the number of rows: at one row a GPU mostly waits for its own start, at hundreds it wins
by far. So a graph is timed at a few sizes when it is opened, and what was measured is kept in a directory, by the
checksum of the graph, the GPU and the version of the runtime.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from bookserve.runtime.base import Session
from bookserve.runtime.devices import CPU

#: Numbers of rows at which a graph is timed.
SIZES = (1, 8, 32, 128, 256)
#: Seconds that timing one graph may take in all, and of those for one size on one device.
BUDGET, _ONE_SIZE = 1.0, 0.06
#: Timed runs of one size, of which the fastest counts: whatever else the machine did only made the others slower.
_RUNS = 5
#: Rows from which a batch goes to the GPU where nothing was measured.
UNMEASURED_FROM = 32
#: Up to this many rows a device is looked up; larger batches go where this one goes.
_LARGEST = 1024

#: Gives feeds of that many rows.
FeedsOf = Callable[[int], Arrays]


class Timings(msgspec.Struct, frozen=True):
    """Seconds of one run by the number of rows, on both devices. A size that would have taken too long is missing."""

    cpu: dict[int, float]
    gpu: dict[int, float]


class Plan:
    """Which of two devices runs a batch, by its number of rows."""

    def __init__(self, on_gpu: Iterable[bool]) -> None:
        """``on_gpu`` says it for 0 rows, 1 row and so on; the last one also for all larger numbers."""
        self._on_gpu = bytes(on_gpu)
        self._last = len(self._on_gpu) - 1

    def on_gpu(self, rows: int) -> bool:
        """Whether the GPU runs a batch of ``rows`` rows."""
        return bool(self._on_gpu[min(rows, self._last)])

    @property
    def gpu_from(self) -> int | None:
        """The smallest number of rows that the GPU runs; None if it runs none."""
        found = self._on_gpu.find(1, 1)
        return None if found < 0 else found

    @classmethod
    def always(cls) -> Plan:
        """The GPU runs every batch."""
        return cls([True, True])

    @classmethod
    def from_rows(cls, rows: int = UNMEASURED_FROM) -> Plan:
        """The GPU runs batches of at least ``rows`` rows."""
        return cls(size >= rows for size in range(rows + 1))

    @classmethod
    def faster(cls, timings: Timings) -> Plan:
        """Each batch is run where it is faster; between the sizes that were timed, time grows evenly."""
        return cls(rows > 0 and seconds(timings.gpu, rows) < seconds(timings.cpu, rows) for rows in range(_LARGEST + 1))


def one_device(timings: Timings, *, never_slower: bool) -> bool:
    """Whether the GPU is the better one of two devices, if one of them must run all batches.

    With ``never_slower`` it must be at least as fast at every size. Else the device is chosen whose worst size loses
    the smaller factor against the other device.
    """
    sizes = sorted({*timings.cpu, *timings.gpu})
    factors = [seconds(timings.gpu, size) / max(seconds(timings.cpu, size), 1e-9) for size in sizes]
    if never_slower:
        return max(factors) <= 1
    return max(factors) < 1 / max(min(factors), 1e-9)


def seconds(timed: dict[int, float], rows: int) -> float:
    """Seconds of a run of ``rows`` rows, from those of other sizes."""
    sizes = sorted(timed)
    place = bisect_left(sizes, rows)
    if place == len(sizes):  # larger than all: a run of so many rows takes at most as long as several runs
        return timed[sizes[-1]] * rows / sizes[-1]
    if place == 0 or sizes[place] == rows:
        return timed[sizes[place]]
    low, high = sizes[place - 1], sizes[place]
    share = (rows - low) / (high - low)
    return timed[low] + (timed[high] - timed[low]) * share


def time_graph(
    cpu: Session,
    gpu: Session,
    feeds_of: FeedsOf,
    sizes: Iterable[int] = SIZES,
    clock: Callable[[], float] = time.perf_counter,
    budget: float = BUDGET,
) -> Timings:
    """Time a graph on both devices, the small sizes first. A size that would exceed ``budget`` seconds is left out.

    Raises:
        OutOfMemory, DeviceLost, Failed: see ``Session.run``; only if the smallest size fails.
    """
    start = clock()
    timings = Timings({}, {})
    for size in sizes:
        feeds = feeds_of(size)
        for session, timed in ((gpu, timings.gpu), (cpu, timings.cpu)):
            left = start + budget - clock()
            if timed and (len(timed) < _place(timings, size) or seconds(timed, size) * 3 > left):
                continue  # two runs, and as much again for what the forecast is wrong by
            try:
                timed[size] = fastest(session, feeds, clock, left)
            except BookserveError:
                if not timed:
                    raise
    return timings


def _place(timings: Timings, size: int) -> int:
    """How many sizes below ``size`` were timed on either device: a device that left one out leaves out the rest."""
    return sum(one < size for one in {*timings.cpu, *timings.gpu})


def fastest(session: Session, feeds: Arrays, clock: Callable[[], float], left: float) -> float:
    """Seconds of the fastest of a few runs, which take ``left`` seconds at most. Raises as ``Session.run``."""
    begun = clock()
    session.run(feeds)  # the first run of a size lays out memory
    once = clock() - begun
    if once * 2 > left:
        return once
    best = once
    ends = begun + min(_ONE_SIZE, left)
    for _ in range(_RUNS):
        before = clock()
        session.run(feeds)
        now = clock()
        best = min(best, now - before)
        if now > ends:
            break
    return best


class TimingStore:
    """Keeps timings in a directory, one small JSON file each."""

    def __init__(self, directory: Path | None) -> None:
        """Nothing is kept without a directory."""
        self._directory = directory

    def read(self, key: str) -> Timings | None:
        """What was kept under ``key``; None if nothing was, or it cannot be read."""
        if self._directory is None:
            return None
        try:
            found = msgspec.json.decode(self._file(self._directory, key).read_bytes(), type=Timings)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return found if found.cpu and found.gpu else None

    def write(self, key: str, timings: Timings) -> None:
        """Keep ``timings``. If that fails, they are measured again the next time."""
        if self._directory is None:
            return
        path = self._file(self._directory, key)
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(msgspec.json.encode(timings))
            unfinished.replace(path)
        except OSError as error:
            logging.getLogger("bookserve").debug("timings are not kept: %s", error)

    @staticmethod
    def _file(directory: Path, key: str) -> Path:
        return directory / "timings" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def timing_key(checksum: str, gpu: str, runtime: str, threads: int) -> str:
    """The key of a graph's timings: its checksum, the GPU's name, the runtime's version, and the CPU's threads."""
    return "\n".join((checksum, gpu, runtime, CPU, str(threads)))

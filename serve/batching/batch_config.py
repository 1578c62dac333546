"""Batching: how many rows of one graph wait and run together, the same for every model of a server."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from bookserve.graph import Arrays, Graph
from bookserve.steps import Pad
from bookserve.verb import Predict, Verb

#: Where nobody said otherwise. Past 32 rows a row gets no cheaper, and where a run outgrows the caches it gets
#: dearer, a recurrent network's by a third. One request is cut later, since cutting has its price, too.
_MOST, _ENOUGH = 256, 32


class BatchConfig(msgspec.Struct, frozen=True):
    """The bounds of a batch. The plain values are right where nobody has measured otherwise."""

    #: Rows that one run takes at most; None lets ``most`` and ``enough`` say so.
    max_rows: int | None = None
    #: Seconds that a request may wait for others to join it; 0 adds no wait.
    max_delay: float = 0.0
    #: Sizes that a batch may have, ascending, the last one ``max_rows``: smaller ones are filled up. Empty: any.
    sizes: tuple[int, ...] = ()
    #: Rows that may wait for one graph before new requests are turned away.
    max_waiting: int = 16_384
    #: Whether short sequences are padded, as the model's own Steps pad, so that several lengths run together.
    pad: bool = False

    @property
    def most(self) -> int:
        """Rows that one run takes at most; a larger request is cut into pieces of this size."""
        return self.max_rows or _MOST

    @property
    def enough(self) -> int:
        """Rows past which no further request joins a run."""
        return self.max_rows or _ENOUGH

    def filled(self, rows: int) -> int:
        """How many rows a batch of ``rows`` is filled up to."""
        return next((size for size in self.sizes if size >= rows), rows)


class Padding:
    """Brings sequences of one graph to a few lengths.

    A sequence is padded to the next power of two, or to the length that the Steps pad to where that is nearer: its own
    length alone decides, so an answer never depends on who else was asking.
    """

    def __init__(self, lengths: Mapping[str, Pad]) -> None:
        self._lengths = lengths

    @classmethod
    def of(cls, verb: Verb, graph: Graph) -> Padding | None:
        """The padding of the inputs whose Steps pad and whose length each call chooses; None where there are none."""
        if not isinstance(verb, Predict):
            return None
        lengths = {
            name: step
            for name, steps in verb.inputs.items()
            for step in steps
            if isinstance(step, Pad) and name in graph.inputs
            # rows of one chosen length, which no output repeats: its padding would have to be taken off again
            if len(shape := graph.inputs[name].shape) == 2
            and isinstance(shape[1], str)
            and not any(shape[1] in output.shape for output in graph.outputs.values())
        }
        return cls(lengths) if lengths else None

    def __call__(self, feeds: Arrays) -> Arrays:
        """The feeds, their short sequences padded in front."""
        return {name: _padded(array, self._lengths.get(name)) for name, array in feeds.items()}


def _padded(array: np.ndarray, pad: Pad | None) -> np.ndarray:
    if pad is None or array.shape[1] >= pad.length:
        return array
    missing = min(1 << (array.shape[1] - 1).bit_length(), pad.length) - array.shape[1]
    return np.pad(array, ((0, 0), (missing, 0)), constant_values=pad.value) if missing else array

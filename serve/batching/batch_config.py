"""Bounds of a batch: how many rows of one graph wait and run together. They are the same for every model of a server.

``Padding`` brings sequences of several lengths to a few lengths, so that they can share a run.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from bookserve.graph import Arrays, Graph
from bookserve.steps import Pad
from bookserve.verb import Predict, Verb

#: The limits where ``max_rows`` is not set. Past 32 rows a row gets no cheaper, and where a run outgrows the caches it
#: gets dearer, in a recurrent network by a third. One request is cut later, since cutting has its price, too.
_RUN_LIMIT, _JOIN_LIMIT = 256, 32


class BatchConfig(msgspec.Struct, frozen=True):
    """The bounds of a batch. The defaults are right where nothing else has been measured."""

    #: Rows that one run takes at most; None leaves ``run_limit`` and ``join_limit`` at their defaults.
    max_rows: int | None = None
    #: Seconds that a request may wait for others to join it; 0 adds no wait.
    max_delay: float = 0.0
    #: Sizes that a batch may have, ascending, the last one ``max_rows``; smaller batches are filled up. Empty: any.
    sizes: tuple[int, ...] = ()
    #: Rows that may wait for one graph before new requests are refused.
    max_waiting: int = 16_384
    #: Rows past which no further request joins a run on a GPU, where ``max_rows`` does not say.
    gpu_join: int = _RUN_LIMIT
    #: Whether short sequences are padded, as the model's own Steps pad, so that several lengths run together.
    pad: bool = False

    @property
    def run_limit(self) -> int:
        """Rows that one run takes at most; a larger request is cut into pieces of this size."""
        return self.max_rows or _RUN_LIMIT

    @property
    def join_limit(self) -> int:
        """Rows past which no further request joins a run."""
        return self.max_rows or _JOIN_LIMIT

    def for_gpu(self) -> BatchConfig:
        """The bounds for a graph that runs large batches on a GPU: there hundreds of rows cost little more than one."""
        return msgspec.structs.replace(self, max_rows=self.max_rows or self.gpu_join)

    def allowed_size(self, rows: int) -> int:
        """The size that a batch of ``rows`` rows is filled up to."""
        return next((size for size in self.sizes if size >= rows), rows)


class Padding:
    """Brings sequences of one graph to a few lengths.

    A sequence is padded to the next power of two, or to the length that the Steps pad to where that is nearer. Its own
    length alone decides, so an answer never depends on other requests.
    """

    def __init__(self, steps: Mapping[str, Pad]) -> None:
        """``steps`` by the name of the input."""
        self._steps = steps

    @classmethod
    def for_graph(cls, verb: Verb, graph: Graph) -> Padding | None:
        """The padding of the inputs whose Steps pad and whose length each request chooses; None if there are none."""
        if not isinstance(verb, Predict):
            return None
        steps = {
            name: step
            for name, steps in verb.inputs.items()
            for step in steps
            if isinstance(step, Pad) and name in graph.inputs
            # rows of one free length, which no output repeats: its padding would have to be removed again
            if len(shape := graph.inputs[name].shape) == 2
            and isinstance(shape[1], str)
            and not any(shape[1] in output.shape for output in graph.outputs.values())
        }
        return cls(steps) if steps else None

    def __call__(self, feeds: Arrays) -> Arrays:
        """The feeds, with their short sequences padded in front."""
        return {name: _pad_in_front(array, self._steps.get(name)) for name, array in feeds.items()}


def _pad_in_front(array: np.ndarray, step: Pad | None) -> np.ndarray:
    """Pad sequences [rows, length] to the next power of two, or to the Step's length if that is less."""
    if step is None or array.shape[1] >= step.length:
        return array
    missing = min(1 << (array.shape[1] - 1).bit_length(), step.length) - array.shape[1]
    return np.pad(array, ((0, 0), (missing, 0)), constant_values=step.value) if missing else array

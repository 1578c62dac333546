"""Makes a batcher whose model doubles its input, and requests for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from bookserve.errors import Failed
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.batching.batch_config import BatchConfig
from serve.batching.batcher import Batcher

GRAPH = Graph(
    inputs={"x": TensorSpec("float32", ("batch", "time"))}, outputs={"y": TensorSpec("float32", ("batch", "time"))}
)
#: The same without a batch axis.
ALONE = Graph(inputs={"x": TensorSpec("float32", (2,))}, outputs={"y": TensorSpec("float32", (2,))})


class Doubling:
    """A backend that doubles, fails on negative numbers, and can be held back."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        self.threads.add(threading.get_ident())
        self.gate.wait()
        x = feeds["x"]
        self.batches.append(len(x))
        if (x < 0).any():
            raise Failed("negative.")
        return {"y": x * 2}


def make(graph: Graph = GRAPH, **batching: object) -> tuple[Doubling, Batcher, list[tuple[int, float]]]:
    """The model, its batcher, and the rows and seconds of each run."""
    backend, ran = Doubling(), []  # type: ignore[var-annotated]
    config = BatchConfig(**batching)  # type: ignore[arg-type]
    return backend, Batcher(graph, backend, lambda rows, seconds: ran.append((rows, seconds)), batching=config), ran


def rows(*values: float, width: int = 1) -> Arrays:
    """Feeds [number of values, width] of float32; every row holds one value."""
    return {"x": np.repeat(np.array(values, np.float32)[:, None], width, axis=1)}


async def ask(batcher: Batcher, feeds: Arrays) -> list[float]:
    """The first column of the answer."""
    return (await batcher.run(feeds, len(feeds["x"])))["y"][:, 0].tolist()  # type: ignore[no-any-return]

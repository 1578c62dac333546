"""LiveModel: one version of a bundle in memory, ready to run, with a batcher for each of its graphs."""

from __future__ import annotations

from functools import partial

from bookserve.backend import Backend, OnnxBackend
from bookserve.bundle import Bundle
from bookserve.graph import Arrays
from serve.batcher import Batcher
from serve.metrics import Metrics
from serve.texts import Texts


class LiveModel:
    """A loaded bundle; whoever holds it can run it, even after the repository let go of it."""

    def __init__(self, bundle: Bundle, metrics: Metrics) -> None:
        """Check the bundle's files, open its graphs and warm each up with one of the bundle's own examples.

        Raises:
            Failed: a file is missing or damaged, or a graph cannot be loaded or run.
        """
        bundle.check_files(everything=False)
        self.bundle = bundle
        self.name = bundle.name
        self.version = bundle.version
        #: Where it writes texts, if it does.
        self.texts = Texts.of(bundle)
        self._batchers: dict[str, Batcher] = {}
        examples = bundle.examples().graphs
        for name, backend in _open_backends(bundle).items():
            graph = bundle.runnable[name]
            batcher = Batcher(graph, backend, partial(metrics.ran, self.name, self.version, name))
            if name in examples:
                batcher.warm_up(
                    {key: array[:1] if graph.batched else array for key, array in examples[name].inputs.items()}
                )
            self._batchers[name] = batcher

    async def run(self, graph: str, feeds: Arrays, rows: int) -> Arrays:
        """Run checked feeds through the graph of that proper name; see ``Batcher.run``."""
        return await self._batchers[graph].run(feeds, rows)

    def close(self) -> None:
        """Let go of threads; sessions go with the object."""
        for batcher in self._batchers.values():
            batcher.close()


def _open_backends(bundle: Bundle) -> dict[str, Backend]:
    graphs = bundle.runnable
    backends: dict[str, Backend] = {
        name: OnnxBackend(bundle.path / graph.onnx) for name, graph in graphs.items() if graph.onnx
    }
    left = [name for name in graphs if name not in backends]
    if left:
        from serve.backends.tensorflow import open_signatures

        backends |= open_signatures(bundle.path, left)
    return backends

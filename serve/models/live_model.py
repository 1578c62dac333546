"""LiveModel: one version of a bundle, with a batcher for each of its graphs once it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from bookserve.bundle import Bundle
from bookserve.errors import BookserveError, Failed, NotFound
from bookserve.graph import Arrays
from bookserve.runtime.onnx import OnnxSession, Session
from serve.batching.batch_config import BatchConfig, Padding
from serve.batching.batcher import Batcher
from serve.batching.text_scheduler import TextScheduler
from serve.models.composite import Composite, FindModel, GraphRunner
from serve.observability.metrics import Metrics

#: By the graph's name.
Batchers = dict[str, GraphRunner]
#: More requests to run before a bundle is available: a graph's name and what to feed it.
Records = Callable[[Bundle], Iterable[tuple[str, Arrays]]]


def _nobody(name: str, version: int) -> LiveModel:
    raise NotFound(f"there is no model '{name}' here.")


class OnDemand(Protocol):
    """Has models in memory when they are run; see ``Resident``."""

    async def __call__(self, model: LiveModel) -> Batchers:
        """The model's batchers, loaded if need be."""

    def at_hand(self, model: LiveModel) -> Batchers | None:
        """The model's batchers, if they are in memory."""


class LiveModel:
    """A version that can be asked. Whoever holds it can run it, even after the repository let go of it: its memory is
    freed when the last holder lets go."""

    def __init__(
        self,
        bundle: Bundle,
        metrics: Metrics,
        batching: BatchConfig | None = None,
        records: Records = lambda _: (),
        find: FindModel = _nobody,
    ) -> None:
        """Nothing is loaded before ``open``; ``find`` finds what composites are made of."""
        self.bundle = bundle
        self.name = bundle.name
        self.version = bundle.version
        #: Where it writes texts, if it does.
        self.texts = TextScheduler.of(bundle)
        self._metrics = metrics
        self._batching = batching or BatchConfig()
        self._records = records
        self._find = find
        #: None while the graphs are not in memory.
        self.batchers: Batchers | None = None
        #: Has the graphs in memory and gives them; set for models that are loaded when first run.
        self.on_demand: OnDemand | None = None

    def open(self, backends: dict[str, Session] | None = None) -> Batchers:
        """Check the bundle's files, open its graphs and warm each up, before anybody waits for them.

        Warm-up runs one row of the bundle's own examples, and then its recorded requests.

        Raises:
            MemberMissing: a model that a composite is made of is not live.
            Failed: a file is missing or damaged, or a graph cannot be loaded or run.
        """
        manifest = self.bundle.manifest
        own: Batchers = {}
        composites = {
            name: Composite(graph, manifest.graphs, own, self._find)
            for name, graph in manifest.graphs.items()
            if graph.members
        }
        self.bundle.check_files(everything=False)
        examples = self.bundle.examples().graphs if "examples.npz" in manifest.files else {}
        for name, backend in (backends or _open_backends(self.bundle)).items():
            graph = self.bundle.runnable[name]
            told = (self.name, self.version, name)
            padding = Padding.of(manifest.verb, graph) if self._batching.pad else None
            batcher = Batcher(
                graph,
                backend,
                partial(self._metrics.count_run, *told),
                partial(self._metrics.count_waits, *told),
                self._batching,
                padding,
            )
            if name in examples:
                batcher.warm_up(
                    {key: array[:1] if graph.batched else array for key, array in examples[name].inputs.items()}
                )
            own[name] = batcher
        batchers = own | composites  # another mapping: nothing that holds itself is freed at once
        for name, feeds in self._records(self.bundle):
            try:
                batchers[name].warm_up(feeds)
            except BookserveError as error:
                raise Failed(f"a warm-up request of graph '{name}' failed: {error.message}", error.hint) from error
        self.batchers = batchers
        return batchers

    async def run(self, graph: str, feeds: Arrays, rows: int) -> Arrays:
        """Run checked feeds through the graph of that proper name; see ``Batcher.run``."""
        batchers = self.batchers if self.on_demand is None else await self.on_demand(self)
        if batchers is None:
            raise Failed(f"model '{self.name}' is not loaded.")
        return await batchers[graph].run(feeds, rows)

    def at_hand(self) -> Batchers | None:
        """The graphs' batchers, if they are in memory, for ``Batcher.submit``; ``run`` loads what is not."""
        return self.batchers if self.on_demand is None else self.on_demand.at_hand(self)

    def is_whole(self) -> bool:
        """Whether every model that a composite is made of is live."""
        members = [member for graph in self.bundle.manifest.graphs.values() for member in graph.members if member.model]
        try:
            return all(self._find(member.model, member.version) for member in members)
        except BookserveError:
            return False

    def rest(self) -> None:
        """Let go of the graphs; what was submitted is still answered, and the next run may open them again."""
        self.batchers = None

    def close(self) -> None:
        """Let go of threads and graphs."""
        for batcher in (self.batchers or {}).values():
            batcher.close()


def _open_backends(bundle: Bundle) -> dict[str, Session]:
    graphs = bundle.runnable
    backends: dict[str, Session] = {
        name: OnnxSession(bundle.path / graph.onnx) for name, graph in graphs.items() if graph.onnx
    }
    left = [name for name, graph in graphs.items() if not graph.onnx and not graph.members]
    if left:
        from bookserve.runtime.tensorflow import open_signatures

        backends |= open_signatures(bundle.path, left)
    return backends

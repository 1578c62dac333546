"""One live version of a model: its bundle, and a batcher for each of its graphs once they are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from bookserve.bundle import Bundle, parity
from bookserve.bundle.examples import Example
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound
from bookserve.graph import Arrays
from bookserve.runtime import DeviceConfig, DeviceSession, Session, open_sessions
from bookserve.runtime.devices import AUTO
from serve.batching.batch_config import BatchConfig, Padding
from serve.batching.batcher import Batcher
from serve.batching.text_scheduler import TextScheduler
from serve.models.composite import Composite, GraphRunner
from serve.models.model_table import FindModel
from serve.observability.metrics import Metrics

#: Why a graph does not run on its GPU: its answers there differ from those of the bundle.
DIFFERS = "differs"

#: By the graph's name.
Batchers = dict[str, GraphRunner]
#: Gives requests that a bundle brings for warm-up: the name of a graph, and its feeds.
WarmupRequests = Callable[[Bundle], Iterable[tuple[str, Arrays]]]


def _no_other_models(name: str, version: int) -> LiveModel:
    raise NotFound(f"there is no model '{name}' here.")


class GraphCache(Protocol):
    """Loads models when they are run; see ``ModelCache``."""

    async def load(self, model: LiveModel) -> Batchers:
        """The model's batchers, which are loaded first if they are not in memory."""

    def batchers_in_memory(self, model: LiveModel) -> Batchers | None:
        """The model's batchers; None if they are not in memory."""


class LiveModel:
    """A version that answers requests.

    A request that holds it can run it, even after it was unloaded: its memory is freed with the last such request.
    """

    def __init__(
        self,
        bundle: Bundle,
        metrics: Metrics,
        batching: BatchConfig | None = None,
        warmup_requests: WarmupRequests = lambda _: (),
        find_member: FindModel = _no_other_models,
        *,
        device: str | DeviceConfig = "cpu",
        threads: int = 1,
    ) -> None:
        """Nothing is loaded before ``open``. ``find_member`` finds the models that composites are made of.

        ``device`` and ``threads`` are those of ``open_sessions``.
        """
        self.bundle = bundle
        self.name = bundle.name
        self.version = bundle.version
        #: Schedules the texts that it writes; None if it writes none.
        self.scheduler = TextScheduler.for_bundle(bundle)
        self._metrics = metrics
        self.batching = batching or BatchConfig()
        #: Rows of one request at most; 0 for any number.
        self.row_limit = 0
        self._warmup_requests = warmup_requests
        self._find_member = find_member
        self._device = DeviceConfig.of(device)
        self._threads = threads
        #: Its graphs that are open on a GPU, by name.
        self.on_gpu: dict[str, DeviceSession] = {}
        #: None while the graphs are not in memory.
        self.batchers: Batchers | None = None
        #: Loads the graphs when they are run; None for models that are loaded from the start.
        self.cache: GraphCache | None = None

    def open(self, sessions: dict[str, Session] | None = None) -> Batchers:
        """Check the bundle's files, open its graphs (or take ``sessions``) and warm each up, before any request.

        Warm-up runs one row of the bundle's own examples, and then its recorded requests. A graph on a GPU must give
        the examples' answers there, too.

        Raises:
            MemberMissing: a model that a composite is made of is not live.
            Failed: a file is missing or damaged, or a graph cannot be loaded or run.
        """
        manifest = self.bundle.manifest
        own: Batchers = {}
        composites = {
            name: Composite(graph, manifest.graphs, own, self._find_member)
            for name, graph in manifest.graphs.items()
            if graph.members
        }
        self.bundle.check_files(everything=False)
        examples = self.bundle.examples().graphs if "examples.npz" in manifest.files else {}
        if sessions is None:
            sessions = open_sessions(self.bundle, device=self._device, threads=self._threads)
        self.on_gpu = {name: session for name, session in sessions.items() if isinstance(session, DeviceSession)}
        for name, opened in self.on_gpu.items():
            if name in examples:
                self._prove(name, opened, examples[name])
            self._metrics.follow_devices(self.name, self.version, name, opened.counts, opened.fallbacks)
        for name, session in sessions.items():
            graph = self.bundle.runnable[name]
            labels = (self.name, self.version, name)
            batcher = Batcher(
                graph,
                session,
                partial(self._metrics.count_run, *labels),
                partial(self._metrics.count_waits, *labels),
                self.batching.for_gpu() if name in self.on_gpu and self.on_gpu[name].gathers else self.batching,
                Padding.for_graph(manifest.verb, graph) if self.batching.pad else None,
            )
            if name in examples:
                batcher.warm_up(
                    {key: array[:1] if graph.batched else array for key, array in examples[name].inputs.items()}
                )
            own[name] = batcher
        batchers = own | composites  # another mapping: composites hold ``own``, which must not hold them
        for name, feeds in self._warmup_requests(self.bundle):
            try:
                batchers[name].warm_up(feeds)
            except BookserveError as error:
                raise Failed(f"a warm-up request of graph '{name}' failed: {error.message}", error.hint) from error
        self.batchers = batchers
        return batchers

    def _prove(self, name: str, session: DeviceSession, example: Example) -> None:
        """Run the examples of a graph on its GPU and compare the answers with those of the bundle.

        A variant may differ from them twice as much as it did when it was exported.

        Raises:
            Failed: they differ, or the run failed, and the GPU was asked for by name.
        """
        try:
            half = self.bundle.manifest.graphs[name].half
            found = parity.compare(example.outputs, session.run_on(session.device, example.inputs), half)
            problem = "" if found.difference <= self._variant_difference(name) else found.problem
        except BookserveError as error:
            problem = error.message.rstrip(".")
        if not problem:
            return
        problem = f"{session.device} does not give the answers of the examples: {problem}."
        if self._device.name != AUTO:
            raise Failed(f"graph '{name}': {problem}", "Serve it with --device cpu, or auto.")
        session.stop_using_gpu(DIFFERS, problem)

    def _variant_difference(self, name: str) -> float:
        """How much the answers of a graph may differ from the examples because a variant of it is run; 0 for none."""
        file = self.bundle.runnable[name].onnx
        variants = (graphs[name] for graphs in self.bundle.manifest.variants.values() if name in graphs)
        return max((2 * variant.difference for variant in variants if variant.file == file), default=0.0)

    def devices(self) -> dict[str, dict[str, object]]:
        """Where each graph that is not only on the CPU runs, by name; see ``DeviceSession.describe``."""
        return {name: session.describe() for name, session in self.on_gpu.items()}

    async def run(self, graph: str, feeds: Arrays, rows: int, any_shape: bool = False) -> Arrays:
        """Run checked feeds through the graph of that name, which is loaded first if need be; see ``Batcher.run``.

        ``any_shape``: their shapes are not checked; see ``Batcher.of_any_shape``.

        Raises:
            NotReady: it cannot be loaded.
            Overloaded, InvalidInput, Failed: see ``Batcher.run``.
        """
        batchers = self.batchers if self.cache is None else await self.cache.load(self)
        if batchers is None:
            raise Failed(f"model '{self.name}' is not loaded.")
        runner = batchers[graph]
        if any_shape and isinstance(runner, Batcher):
            runner = runner.of_any_shape()
        return await runner.run(feeds, rows)

    def batchers_in_memory(self) -> Batchers | None:
        """The graphs' batchers, for ``Batcher.submit``; None if they are not in memory, which only ``run`` changes."""
        return self.batchers if self.cache is None else self.cache.batchers_in_memory(self)

    def check_rows(self, rows: int) -> None:
        """Refuse a request of more rows than ``row_limit``.

        Raises:
            InvalidInput: it has more; the message is Triton's.
        """
        if self.row_limit and rows > self.row_limit:
            raise InvalidInput(
                f"inference request batch-size must be <= {self.row_limit} for '{self.name}', got {rows}.",
                "Send fewer rows in one request: the model's config.pbtxt sets this limit.",
            )

    def has_live_members(self) -> bool:
        """Whether every model that a composite of this bundle is made of is live."""
        members = [member for graph in self.bundle.manifest.graphs.values() for member in graph.members if member.model]
        try:
            return all(self._find_member(member.model, member.version) for member in members)
        except BookserveError:
            return False

    def release(self) -> None:
        """Drop the graphs from memory. What was submitted is still answered, and ``open`` loads them again."""
        self.batchers = None
        self.on_gpu = {}

    def close(self) -> None:
        """End the threads of the graphs."""
        for batcher in (self.batchers or {}).values():
            batcher.close()

"""Opens a graph on the device that is asked for, or finds the better one: the CPU, a GPU, or both.

Where only the CPU is asked for, or no GPU can be used, the session is the plain one of the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bookserve.bundle import Bundle
from bookserve.errors import Failed
from bookserve.graph import Arrays, Graph, numpy_dtype
from bookserve.runtime.base import DEFAULT_GRAPH, FixedSizeRuntime, GpuRuntime, Session, knows_gpus
from bookserve.runtime.device_session import DeviceSession
from bookserve.runtime.devices import AUTO, CPU, CUDA, DeviceConfig, DeviceUnavailable, Gpu
from bookserve.runtime.registry import open_session, runtimes
from bookserve.runtime.timing import SIZES, Plan, Timings, TimingStore, fastest, one_device, time_graph, timing_key
from bookserve.verb import Generate, Sample, Transform

logger = logging.getLogger("bookserve")


class GraphFacts(NamedTuple):
    """What is known about a graph, so that it can be placed on a device."""

    graph: Graph
    #: Its name for messages.
    name: str
    #: SHA-256 of its file; '' if unknown: then its timings are not kept.
    checksum: str = ""
    #: Feeds that it takes; None if none are known.
    feeds: Arrays | None = None
    #: Whether one device runs everything, so that a seed gives the same answer whatever else is asked.
    seeded: bool = False
    #: Whether it writes texts, of which none may be slower than on the CPU.
    texts: bool = False

    @classmethod
    def of(cls, bundle: Bundle, name: str, feeds: Arrays | None) -> GraphFacts:
        """The facts about one graph of a bundle that has an ONNX form."""
        graph, verb = bundle.runnable[name], bundle.manifest.verb
        file = bundle.manifest.files.get(str(graph.onnx))
        return cls(
            graph,
            f"graph '{name}' of model '{bundle.name}'",
            file.sha256 if file else "",
            feeds,
            isinstance(verb, Generate | Sample | Transform),
            isinstance(verb, Generate),
        )

    def feeds_of(self, rows: int) -> Arrays:
        """Feeds of ``rows`` rows: the known ones over and over, or zeros."""
        feeds = self.feeds
        if feeds is None or not all(len(feeds[name]) for name in self.graph.inputs if feeds[name].ndim):
            feeds = {name: np.zeros(spec.sizes(1), numpy_dtype(spec.dtype)) for name, spec in self.graph.inputs.items()}
        if not self.graph.batched:
            return feeds
        return {name: array[np.arange(rows) % len(array)] for name, array in feeds.items()}

    @property
    def known(self) -> bool:
        """Whether there are feeds to time it with: zeros are no text, and nothing of unknown rank."""
        return self.feeds is not None or all(
            spec.ranked and spec.dtype != "string" for spec in self.graph.inputs.values()
        )


def usable_gpus(runtime: GpuRuntime, device: str) -> list[Gpu]:
    """The GPUs that ``device`` (``auto``, ``cuda`` or ``cuda:N``) means, the one with the most free memory first.

    Raises:
        DeviceUnavailable: there is none; the message says why.
    """
    gpus = runtime.gpus()
    if not gpus:
        raise DeviceUnavailable(f"{runtime.name} finds no GPU.", "bookserve doctor shows what it finds.")
    if device in (AUTO, CUDA):
        return sorted(gpus, key=lambda gpu: -gpu.free)
    found = [gpu for gpu in gpus if gpu.device == device]
    if not found:
        listed = ", ".join(map(str, gpus)) or "none"
        raise DeviceUnavailable(f"there is no GPU {device}.", f"GPUs here: {listed}.")
    return found


def resolve_device(config: DeviceConfig) -> tuple[DeviceConfig, list[Gpu], DeviceUnavailable | None]:
    """What ``config`` comes to on this machine: the device, the GPUs that it may use, and why there are none.

    ``auto`` becomes ``cpu`` where no GPU can be used, so that nothing is tried again for each graph.

    Raises:
        DeviceUnavailable: (not with ``auto``) the GPU cannot be used.
    """
    if config.name == CPU:
        return config, [], None
    problem: DeviceUnavailable | None = None
    try:
        for runtime in runtimes():
            if knows_gpus(runtime):
                try:
                    return config, usable_gpus(runtime, config.name), None
                except DeviceUnavailable as error:  # the first one's reason is the one that most people can mend
                    problem = problem or error
    except Failed as error:  # an installed runtime cannot be imported
        logger.warning("%s", error)
    problem = problem or DeviceUnavailable("no runtime that is installed knows GPUs.")
    if config.name != AUTO:
        raise problem
    return config.with_name(CPU), [], problem


def find_gpu_runtime(path: Path) -> GpuRuntime | None:
    """The first runtime that opens such a file and knows GPUs: one that can use one now, if there is any."""
    found = [runtime for runtime in runtimes() if knows_gpus(runtime) and runtime.opens(path)]
    for runtime in found:
        try:
            if runtime.gpus():
                return runtime
        except DeviceUnavailable:
            continue
    return found[0] if found else None


def open_placed(path: Path, facts: GraphFacts, config: DeviceConfig, threads: int = 1) -> Session:
    """Open the ONNX file ``path`` where ``config`` says.

    With ``auto`` this is the session of the CPU if no GPU can be used or the GPU is never faster; a graph that cannot
    be opened on the GPU is opened on the CPU, and the log says so.

    Raises:
        DeviceUnavailable: (not with ``auto``) the GPU cannot be used.
        OutOfMemory: (not with ``auto``) the graph does not fit into its memory.
        InvalidInput: (not with ``auto``) no runtime opens such a file on a GPU.
        Failed: the file cannot be loaded.
    """
    open_on_cpu = partial(open_session, path, threads=threads)
    if config.name == CPU:
        return open_on_cpu()
    runtime = find_gpu_runtime(path)
    if runtime is None:
        return open_session(path, device=CPU if config.name == AUTO else config.name, threads=threads)
    try:
        gpu = usable_gpus(runtime, config.name)[0]
    except DeviceUnavailable:
        if config.name == AUTO:
            return open_on_cpu()
        raise
    if config.name != AUTO:
        on_gpu = _GpuOpener(path, facts, config, threads, runtime).open(gpu)
        return DeviceSession(facts.graph, on_gpu, open_on_cpu, gpu.device, Plan.always(), runtime.clock, facts.name)
    try:
        return _open_on_both(path, facts, config, threads, runtime, gpu, open_on_cpu)
    except Failed as error:
        session = open_on_cpu()  # if it is the file's fault, this fails, too
        logger.warning("%s runs on the CPU: %s", facts.name, error)
        return session


def _open_on_both(
    path: Path,
    facts: GraphFacts,
    config: DeviceConfig,
    threads: int,
    runtime: GpuRuntime,
    gpu: Gpu,
    open_on_cpu: Callable[[], Session],
) -> Session:
    on_gpu = runtime.open_on_gpu(path, DEFAULT_GRAPH, gpu.device, config, threads)
    on_cpu = open_on_cpu()
    timings = _timings(facts, config, threads, runtime, gpu, on_cpu, on_gpu)
    if facts.seeded:
        always = timings is not None and one_device(timings, never_slower=facts.texts)
        plan = Plan.always() if always else None
    else:
        plan = Plan.faster(timings) if timings else Plan.from_rows()
    if plan is None or plan.gpu_from is None or (not facts.graph.batched and plan.gpu_from > 1):
        return on_cpu  # and the GPU's memory is free again
    on_gpu = _GpuOpener(path, facts, config, threads, runtime).complete(on_gpu, gpu)
    return DeviceSession(facts.graph, on_gpu, lambda: on_cpu, gpu.device, plan, runtime.clock, facts.name)


class _GpuOpener:
    """Opens one graph on GPUs: the plain session, buffers of fixed sizes where they are faster, and replicas."""

    def __init__(self, path: Path, facts: GraphFacts, config: DeviceConfig, threads: int, runtime: GpuRuntime) -> None:
        self._path, self._facts, self._config, self._threads, self._runtime = path, facts, config, threads, runtime

    def open(self, gpu: Gpu) -> Session:
        """The graph on ``gpu``, and on more of them while it is hot. Raises as ``GpuRuntime.open_on_gpu``."""
        return self.complete(self._open_plain(gpu), gpu)

    def complete(self, plain: Session, gpu: Gpu) -> Session:
        """The same for a graph whose plain session is open."""
        from bookserve.runtime.replicas import ReplicaSession

        session = self._with_fixed_sizes(plain, gpu)
        if self._config.replicas < 2 or not self._facts.graph.batched or self._facts.seeded:
            return session
        return ReplicaSession(
            session, gpu.device, self._open_next, self._config.replicas, self._runtime.clock, self._facts.name
        )

    def _open_plain(self, gpu: Gpu) -> Session:
        return self._runtime.open_on_gpu(self._path, DEFAULT_GRAPH, gpu.device, self._config, self._threads)

    def _open_next(self, used: Collection[str]) -> tuple[str, Session] | None:
        """The graph on the GPU with the most free memory that is not ``used``; None if there is none."""
        for gpu in usable_gpus(self._runtime, AUTO):
            if gpu.device not in used:
                return gpu.device, self._with_fixed_sizes(self._open_plain(gpu), gpu)
        return None

    def _with_fixed_sizes(self, plain: Session, gpu: Gpu) -> Session:
        """``plain``, or beside it buffers of those sizes that measure faster with them."""
        from bookserve.runtime.fixed_sizes import SIZES as FIXED_SIZES
        from bookserve.runtime.fixed_sizes import FixedSizeSession, size_table, takes_fixed_sizes, time_fixed

        facts, runtime, config = self._facts, self._runtime, self._config
        wanted = config.cuda_graphs and facts.known and takes_fixed_sizes(facts.graph)
        if not wanted or not isinstance(runtime, FixedSizeRuntime):
            return plain
        try:
            fixed = runtime.open_fixed_sizes(self._path, facts.graph, FIXED_SIZES, gpu.device, config, self._threads)
            gained = time_fixed(plain, fixed, facts.feeds_of, runtime.clock)
            timed = {size: fastest(plain, facts.feeds_of(size), runtime.clock, 1.0) for size in gained}
        except Failed as error:
            logger.info("%s has no CUDA graphs: %s", facts.name, error.message)
            return plain
        table = size_table(timed, gained) if timed else []
        return FixedSizeSession(plain, fixed, table, facts.name) if table else plain


def _timings(
    facts: GraphFacts,
    config: DeviceConfig,
    threads: int,
    runtime: GpuRuntime,
    gpu: Gpu,
    on_cpu: Session,
    on_gpu: Session,
) -> Timings | None:
    """How long the graph takes on both devices, as kept or measured now; None if it is not to be measured."""
    store = TimingStore(config.cache if facts.checksum else None)
    key = timing_key(facts.checksum, gpu.name, runtime.version, threads)
    found = store.read(key)
    if found is None and config.measure and facts.known:
        sizes = SIZES if facts.graph.batched else SIZES[:1]
        found = time_graph(on_cpu, on_gpu, facts.feeds_of, sizes, runtime.clock)
        store.write(key, found)
    return found

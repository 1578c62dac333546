"""Opens the graphs of a Bundle: from its model files, or for a composite from its members.

The server opens composites itself (``serve/models/composite.py``), so that their members are shared; every other
program runs the members one after the other, as here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from bookserve.bundle import Bundle
from bookserve.bundle.composite import execution_rounds
from bookserve.errors import Failed
from bookserve.graph import Arrays, Graph
from bookserve.runtime.base import Session
from bookserve.runtime.devices import AUTO, CPU, DeviceConfig
from bookserve.runtime.placement import GraphFacts, open_placed
from bookserve.runtime.registry import open_model_file


class CompositeSession:
    """A composite graph, whose members are run one after the other; see ``Session``."""

    def __init__(self, graph: Graph, members: Mapping[tuple[str, int, str], Session]) -> None:
        """``members`` by model, version and graph."""
        self._graph = graph
        self._members = members

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``."""
        tensors = dict(feeds)
        for member in chain(*execution_rounds(self._graph)):
            tensors |= member.give(self._members[member.model, member.version, member.graph].run(member.take(tensors)))
        return {name: tensors[name] for name in self._graph.outputs}


def open_graph(
    bundle: Bundle,
    name: str,
    open_bundle: Callable[[str, int], Bundle],
    *,
    device: str | DeviceConfig = CPU,
    threads: int = 1,
    opened: dict[Path, Session] | None = None,
) -> Session:
    """Open one graph of a bundle that has an ONNX form, or whose members have.

    ``open_bundle`` opens another model, by name and version. ``opened`` holds the sessions of files that are open
    already and is added to, so that each file is opened once.

    Raises:
        NotFound: a model or graph does not exist.
        InvalidInput, DeviceUnavailable: the device cannot be used.
        Failed: a graph has no ONNX form, or cannot be loaded.
    """
    name, graph = bundle.graph(name)
    if graph.members:
        members = {}
        for member in graph.members:
            owner = open_bundle(member.model, member.version) if member.model else bundle
            if owner.graph(member.graph)[1].members:
                raise Failed(f"model '{bundle.name}' is made of {member}, which is a composite itself.")
            members[member.model, member.version, member.graph] = open_graph(
                owner, member.graph, open_bundle, device=device, threads=threads, opened=opened
            )
        return CompositeSession(graph, members)
    if graph.onnx is None:
        raise Failed(f"graph '{name}' of model '{bundle.name}' has no ONNX form and needs TensorFlow.")
    path = bundle.path / graph.onnx
    opened = {} if opened is None else opened
    if path not in opened:
        opened[path] = open_onnx(bundle, name, device=device, threads=threads)
    return opened[path]


def open_onnx(bundle: Bundle, name: str, *, device: str | DeviceConfig = CPU, threads: int = 1) -> Session:
    """Open one graph of ``bundle.runnable`` that has an ONNX form; see ``open_placed`` for devices and errors."""
    config = DeviceConfig.of(device)
    feeds = None
    if config.name != CPU and "examples.npz" in bundle.manifest.files:
        example = bundle.examples().graphs.get(name)
        feeds = example.inputs if example else None
    facts = GraphFacts.of(bundle, name, feeds)
    return open_placed(bundle.path / str(facts.graph.onnx), facts, config, threads)


def move_sessions(
    bundle: Bundle, sessions: Mapping[str, Session], *, device: DeviceConfig, threads: int = 1
) -> dict[str, Session]:
    """Open those graphs again that have an ONNX form, on ``device``; the others stay. Raises as ``open_onnx``."""
    return {
        name: open_onnx(bundle, name, device=device, threads=threads) if bundle.runnable[name].onnx else session
        for name, session in sessions.items()
    }


def open_sessions(bundle: Bundle, *, device: str | DeviceConfig = CPU, threads: int = 1) -> dict[str, Session]:
    """Open all graphs of a bundle but its composites, by name. Those without an ONNX form come from its SavedModel,
    which is loaded once, and run on the CPU.

    Raises:
        InvalidInput: there is no such device, or a graph cannot run on it.
        DeviceUnavailable: the GPU cannot be used.
        Failed: a graph cannot be loaded, or needs TensorFlow, which is not installed.
    """
    graphs = bundle.runnable
    config = DeviceConfig.of(device)
    sessions = {
        name: open_onnx(bundle, name, device=config, threads=threads) for name, graph in graphs.items() if graph.onnx
    }
    signatures = [name for name, graph in graphs.items() if not graph.onnx and not graph.members]
    if signatures:
        only_cpu = CPU if config.name == AUTO else config.name
        sessions |= open_model_file(bundle.path / "saved_model.pb", signatures, device=only_cpu, threads=threads)
    return sessions

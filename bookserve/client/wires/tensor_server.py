"""Servers that take tensors and know nothing of Steps: TensorFlow Serving, Triton, KServe, MLServer.

Where the bundle of a model is at hand, its Steps make tensors of the rows here, and answers of the tensors that come
back. Else the server's own description of the model says what type and shape the tensors have.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from bookserve import bundle
from bookserve.bundle import Bundle, Manifest
from bookserve.client.wires.graphs import GraphWire
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.formats.external_model import default_step
from bookserve.graph import DTYPES, UNKNOWN_RANK, Arrays, Graph, TensorSpec
from bookserve.runtime.base import DEFAULT_GRAPH, Declarations, Session
from bookserve.verb import MultiStepDecoder, Predict

_HINT = "Give the directory of its bundle: connect(…, bundles=DIRECTORY), --bundles DIRECTORY."


class ServedModel(NamedTuple):
    """What a server says of one version of a model."""

    #: None where it does not count versions.
    version: int | None
    #: Inputs and outputs of each graph by its name; the default graph is ``serving_default`` or the first.
    graphs: dict[str, tuple[Declarations, Declarations]]
    #: Rows in one request at most; 0 if it sets no limit.
    max_rows: int = 0


class TensorServer(Protocol):
    """A connection to such a server. Threads may share it."""

    def list_models(self) -> list[tuple[str, int | None]]:
        """Name and version of each model.

        Raises:
            Failed: this kind of server does not say.
        """

    def describe(self, model: str, version: int | None) -> ServedModel:
        """A version of a model, by default the newest.

        Raises:
            NotFound: there is none.
        """

    def run(self, model: str, version: int | None, graph: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run one graph; '' is the default graph.

        Raises:
            Failed: this kind of server runs no other graph than the default one.
        """

    def close(self) -> None:
        """Close the connection."""


class TensorWire(GraphWire):
    """The models of a server that takes tensors."""

    parallel = 4
    table_rows = 1024

    def __init__(self, server: TensorServer, bundles: Path | None = None) -> None:
        """``bundles`` is a directory of bundles, as ``bookserve export`` writes it.

        Raises:
            NotFound: there is no such directory.
        """
        if bundles is not None and not bundles.is_dir():
            raise NotFound(f"there is no directory '{bundles}'.", "Give the directory that holds the bundles.")
        self._server = server
        self._bundles = bundles
        self._opened: dict[tuple[str, int | None], tuple[ServedModel, Bundle]] = {}
        self._opening = threading.RLock()

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``; where the server does not list its models, those of the bundles that it serves."""
        try:
            listed = self._server.list_models()
        except Failed:
            if self._bundles is None:
                raise
            listed = [(name, None) for name in bundle.model_names(self._bundles)]
        found = []
        for name, version in listed:
            try:
                found.append(bundle.summarise_bundle(self.open(name, version)))
            except NotFound:
                continue
        return found

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def open(self, model: str, version: int | None) -> Bundle:
        """See ``GraphWire``; without a bundle at hand, one that only describes the server's model."""
        return self._open(model, version)[1]

    def graph(self, opened: Bundle, name: str) -> tuple[Graph, Session]:
        """See ``GraphWire``."""
        name, graph = opened.graph(name)
        served = next(found for found, known in self._opened.values() if known is opened)
        given = "" if name == opened.manifest.default else name
        declared = served.graphs.get(name) or (next(iter(served.graphs.values()), None) if not given else None)
        if declared and declared[0] and declared[0].keys() != graph.inputs.keys():
            takes, has = (", ".join(map(repr, sorted(names))) for names in (declared[0], graph.inputs))
            raise Failed(
                f"the server's model '{opened.name}' takes {takes}; the bundle in {self._bundles} takes {has}.",
                "They are not the same model: give the bundle that the server serves.",
            )
        return graph, _ServedGraph(self._server, opened.name, served, given, graph)

    def decoder(self, opened: Bundle, decoder: MultiStepDecoder) -> Session | None:
        """See ``GraphWire``; other servers do not have it."""
        return None

    def _open(self, model: str, version: int | None) -> tuple[ServedModel, Bundle]:
        key = model, version
        with self._opening:
            if key not in self._opened:
                served = self._server.describe(model, version)
                if self._bundles is not None and bundle.versions(self._bundles, model):
                    self._opened[key] = served, bundle.open_bundle(self._bundles, model, served.version)
                else:
                    self._opened[key] = _described(model, served)
            return self._opened[key]


class _ServedGraph:
    """A Session whose graph runs at the server."""

    def __init__(self, server: TensorServer, model: str, served: ServedModel, name: str, graph: Graph) -> None:
        self._server, self._model, self._served, self._name, self._graph = server, model, served, name, graph

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        most = self._served.max_rows
        rows = len(next(iter(feeds.values()))) if most and self._graph.batched else 0
        if rows <= most:
            return self._run(feeds)
        parts = [
            self._run({name: array[start : start + most] for name, array in feeds.items()})
            for start in range(0, rows, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        outputs = self._server.run(self._model, self._served.version, self._name, feeds)
        missing = [name for name in self._graph.outputs if name not in outputs]
        if missing:
            raise Failed(f"the server's answer has no output {', '.join(map(repr, missing))}.", _HINT)
        return {name: _without_last_axis(outputs[name], spec) for name, spec in self._graph.outputs.items()}


def _without_last_axis(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The output as the graph has it: some servers (MLServer, pytriton) send one number for each row as [rows, 1]."""
    more = spec.ranked and array.ndim == len(spec.shape) + 1 and array.shape[-1] == 1
    return array[..., 0] if more else array


def _described(model: str, served: ServedModel) -> tuple[ServedModel, Bundle]:
    """A bundle without files, for a model of which only the server's description is known.

    A model whose first axes are all 1 is asked for one row at a time.
    """
    graphs = {}
    for name, declared in served.graphs.items():
        if all(tensor.dtype in DTYPES for tensors in declared for tensor in tensors.values()):
            inputs, outputs = map(_specs, declared)
            graphs[name] = Graph(inputs=inputs, outputs=outputs)
    if not any(graph.inputs for graph in graphs.values()):
        raise InvalidInput(f"the server does not say which tensors the model '{model}' takes.", _HINT)
    default = DEFAULT_GRAPH if DEFAULT_GRAPH in graphs else next(iter(graphs))
    graphs = {default: graphs[default], **graphs}
    verb = Predict(
        inputs={name: (default_step(spec),) for name, spec in graphs[default].inputs.items()},
        outputs=dict.fromkeys(graphs[default].outputs, ()),
        graph=default,
    )
    if any(tensor.shape and tensor.shape[0] == 1 for tensor in served.graphs[default][0].values()):
        served = served._replace(max_rows=1)
    return served, Bundle(Path(model, str(served.version or 0)), Manifest(name=model, verb=verb, graphs=graphs), model)


def _specs(tensors: Declarations) -> dict[str, TensorSpec]:
    """Free axes get names; a first one, or one of size 1, is called ``batch``."""
    specs = {}
    for name, tensor in tensors.items():
        if tensor.shape is None:
            specs[name] = TensorSpec(tensor.dtype, UNKNOWN_RANK)
            continue
        axes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(tensor.shape)]
        if axes and tensor.shape[0] in (None, 1):
            axes[0] = "batch"
        specs[name] = TensorSpec(tensor.dtype, tuple(axes))
    return specs

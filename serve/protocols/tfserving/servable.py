"""Finds the model and graph that a request of TensorFlow Serving's APIs names, and runs the three tasks.

Errors have TensorFlow Serving's messages.
"""

from __future__ import annotations

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput, NotFound
from bookserve.formats import tf_example
from bookserve.graph import Arrays, Graph, numpy_dtype
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.models.versions import UnknownLabel, VersionStatus
from serve.protocols.tfserving import classify_regress, tf_examples
from serve.protocols.tfserving.signatures import is_foreign


def find_model(engine: Engine, name: str, version: int | None = None, label: str = "") -> LiveModel:
    """The live model of that name, and of that version or label; without both, the newest version.

    Raises:
        NotFound: no such model or version.
        InvalidInput: the model has no such label.
        NotReady: the version could not be loaded.
    """
    try:
        return engine.model(name, version, label)
    except UnknownLabel as error:
        raise InvalidInput(f"Unrecognized servable version label: {label}") from error
    except NotFound as error:
        if label and name not in engine.names():  # an unknown model has no labels
            raise InvalidInput(f"Unrecognized servable version label: {label}") from error
        servable = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {servable}") from error


def version_states(engine: Engine, name: str, version: int | None = None) -> list[VersionStatus]:
    """The states of all versions of a model, or of one version.

    Raises:
        NotFound: no such model or version.
    """
    try:
        statuses = engine.status(name)
    except NotFound:
        statuses = []
    if not statuses:
        raise NotFound(f"Could not find any versions of model {name}")
    statuses = [status for status in statuses if version in (None, status.version)]
    if not statuses:
        raise NotFound(f"Could not find version {version} of model {name}")
    return statuses


def has_failed(status: VersionStatus) -> bool:
    """Whether the status is an error; a version that serves on without its files only has a message."""
    return bool(status.error) and status.state != "AVAILABLE"


def find_graph(live: LiveModel, signature: str) -> tuple[str, Graph]:
    """The name of a graph and the graph, for a signature that takes tf.Example records.

    Raises:
        NotFound: no such graph.
    """
    manifest = live.bundle.manifest
    return live.bundle.graph(tf_example.example_graph_of(signature, manifest.verb, manifest.graphs))


async def predict(engine: Engine, live: LiveModel, signature: str, graph: Graph, feeds: Arrays) -> Arrays:
    """Run ``graph``, whose name is ``signature``. A batch without rows gets outputs without rows, and is not run.

    A SavedModel without a bundle is run on tensors of any shape, since TensorFlow Serving does not compare them with
    the declared shapes, either: half_plus_two takes ``[1.0, 2.0]`` for its input of shape [-1, 1].

    Raises:
        InvalidInput: the feeds do not fit the graph.
        NotReady, Overloaded, Failed: see ``Engine.run``.
    """
    if any(0 in feed.shape for feed in feeds.values()) and graph.batched and _holds_no_rows(graph, feeds):
        return {
            name: np.empty(
                [0, *(axis if isinstance(axis, int) else 0 for axis in spec.shape[1:])], numpy_dtype(spec.dtype)
            )
            for name, spec in graph.outputs.items()
        }
    return await engine.run(live, signature, feeds, is_foreign(live) and not _fits(graph, feeds))


def _fits(graph: Graph, feeds: Arrays) -> bool:
    try:
        graph.check(feeds)
    except InvalidInput:
        return False
    return True


def _holds_no_rows(graph: Graph, feeds: Arrays) -> bool:
    """Whether all that the feeds lack is rows."""
    by_row = {name for name, spec in graph.inputs.items() if spec.shape[:1] == ("batch",)}
    if feeds.keys() != graph.inputs.keys() or any(feeds[name].shape[:1] != (0,) for name in by_row):
        return False
    one_row = {name: np.zeros((1, *feeds[name].shape[1:]), feeds[name].dtype) for name in by_row}
    return _fits(graph, {**feeds, **one_row})  # if not, the engine says so of the feeds themselves


async def classify_and_regress(
    engine: Engine, live: LiveModel, tasks: list[tuple[str, str]], examples: pb.Input, check_method: bool = False
) -> list[pb.InferenceResult]:
    """Run the records in ``examples`` for each task (``CLASSIFY`` or ``REGRESS``) and signature.

    A graph that several tasks share is run once. ``check_method``: see ``classify_regress.check_task``.

    Raises:
        NotFound: a signature does not exist.
        InvalidInput: a graph does not suit its task, or the records do not fit the graph.
        Overloaded, Failed: see ``Engine.run``.
    """
    graphs = [find_graph(live, signature) for _, signature in tasks]
    takes_records = [
        classify_regress.check_task(task, live, name, graph, check_method)
        for (task, _), (name, graph) in zip(tasks, graphs, strict=True)
    ]
    rows = tf_examples.count_examples(examples)
    outputs: dict[str, Arrays] = {}
    results = []
    for (task, _), (name, graph), serialized in zip(tasks, graphs, takes_records, strict=True):
        if name not in outputs:
            feeds = (
                tf_examples.record_feeds(examples, graph) if serialized else tf_examples.example_inputs(examples, graph)
            )
            outputs[name] = await engine.run(live, name, feeds)
        results.append(classify_regress.make_result(task, live, name, graph, outputs[name], rows))
    return results

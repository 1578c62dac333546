"""Finds the model and graph that a request of TensorFlow Serving's APIs names, and runs classify and regress tasks.

Errors have TensorFlow Serving's messages.
"""

from __future__ import annotations

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput, NotFound
from bookserve.formats import tf_example
from bookserve.graph import Arrays, Graph
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.models.versions import UnknownLabel, VersionStatus
from serve.protocols.tfserving import classify_regress, tf_examples


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

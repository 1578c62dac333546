"""Servable: the model and the graph that a request of TensorFlow Serving's protocol means, found or refused in its
words."""

from __future__ import annotations

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput, NotFound
from bookserve.formats import tf_example
from bookserve.graph import Arrays, Graph
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.models.versions import UnknownLabel, VersionStatus
from serve.protocols.tfserving import classify_regress
from serve.protocols.tfserving import tf_examples


def find_model(engine: Engine, name: str, version: int | None = None, label: str = "") -> LiveModel:
    """The live model of that name: the newest version, or the one asked for.

    Raises:
        NotFound: no such model or version.
        InvalidInput: the model has no such label.
        NotReady: it could not be loaded.
    """
    try:
        return engine.model(name, version, label)
    except UnknownLabel as error:
        raise InvalidInput(f"Unrecognized servable version label: {label}") from error
    except NotFound as error:
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {wanted}") from error


def version_states(engine: Engine, name: str, version: int | None = None) -> list[VersionStatus]:
    """The versions of a model and their states, or that of the one asked for.

    Raises:
        NotFound: no such model or version.
    """
    try:
        found = engine.status(name)
    except NotFound:
        found = []
    if not found:
        raise NotFound(f"Could not find any versions of model {name}")
    found = [status for status in found if version in (None, status.version)]
    if not found:
        raise NotFound(f"Could not find version {version} of model {name}")
    return found


def find_graph(live: LiveModel, signature: str) -> tuple[str, Graph]:
    """The graph that a signature over records means, with its proper name: its own, or that of ``classify``.

    Raises:
        NotFound: no such graph.
    """
    manifest = live.bundle.manifest
    return live.bundle.graph(tf_example.example_graph_of(signature, manifest.verb, manifest.graphs))


def find_task_graph(task: str, live: LiveModel, signature: str) -> tuple[str, Graph]:
    """The graph of a task (``classify_regress.CLASSIFY`` or ``REGRESS``) with its proper name.

    Raises:
        NotFound: no such graph.
        InvalidInput: it does not give what the task takes.
    """
    name, graph = find_graph(live, signature)
    if task == classify_regress.CLASSIFY:
        classify_regress.check_classifies(live, name, graph)
    else:
        classify_regress.check_regresses(graph)
    return name, graph


async def classify_and_regress(
    engine: Engine, live: LiveModel, tasks: list[tuple[str, str]], given: pb.Input
) -> list[pb.InferenceResult]:
    """Run the records in ``given`` through the graph of each task and signature; a graph is run once for all.

    Raises:
        NotFound, InvalidInput: see ``tell`` and ``examples.feeds``.
        Overloaded, Failed: see ``Engine.run``.
    """
    graphs = [find_task_graph(task, live, signature) for task, signature in tasks]
    ran: dict[str, Arrays] = {}
    results = []
    for (task, _), (name, graph) in zip(tasks, graphs, strict=True):
        if name not in ran:
            ran[name] = await engine.run(live, name, tf_examples.example_inputs(given, graph))
        result = pb.InferenceResult()
        if task == classify_regress.CLASSIFY:
            result.classification_result.CopyFrom(classify_regress.classify(live, name, graph, ran[name]))
        else:
            result.regression_result.CopyFrom(classify_regress.regress(live, name, ran[name]))
        results.append(result)
    return results

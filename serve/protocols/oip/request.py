"""Finds the model, graph, inputs and outputs that a request of the Open Inference Protocol names, over HTTP or gRPC.

The model's default graph is run, unless the request's parameter ``signature_name`` names another one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bookserve.errors import InvalidInput, NotFound, NotReady
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.batching.request_queue import OnResult
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.oip import classification
from serve.protocols.oip.tensors import BF16, DATATYPES
from serve.request_context import RequestContext

#: Parameters that would change where tensors are read from or written to. They are refused rather than ignored.
_UNSUPPORTED = ("shared_memory_region",)


def drop_nulls(value: Any) -> Any:
    """A JSON document without the fields that are null: clients write null for what they do not give.

    The elements of tensors (``data``) are left alone.
    """
    if type(value) is dict:
        return {name: item if name == "data" else drop_nulls(item) for name, item in value.items() if item is not None}
    return [drop_nulls(item) for item in value] if type(value) is list else value


def find_model(engine: Engine, name: str, version: str) -> LiveModel:
    """The live model of that name and version; '' means the newest version.

    Raises:
        InvalidInput: the version is not a number.
        NotFound: no such model or version.
        NotReady: the version could not be loaded.
    """
    if version and not (version.isascii() and version.isdigit() and len(version) < 19):
        raise InvalidInput(f"the version '{version}' is not a number.")
    try:
        return engine.model(name, int(version) if version else None)
    except NotFound as error:
        which = f" version {version}" if version else ""
        raise NotFound(f"Request for unknown model: '{name}'{which} is not found.", error.hint) from error


def is_model_ready(engine: Engine, name: str, version: str) -> bool:
    """Whether the model answers requests now.

    Raises:
        InvalidInput, NotFound: see ``find_model``.
    """
    try:
        return find_model(engine, name, version).has_live_members() and engine.ready
    except NotReady:
        return False


def find_graph(live: LiveModel, signature: Any) -> tuple[str, Graph]:
    """The name of a graph and the graph, by the request's parameter ``signature_name``; '' means the default graph.

    Raises:
        InvalidInput: the model has no graph of that name.
    """
    if not isinstance(signature, str):
        raise InvalidInput("the parameter signature_name is not a string.")
    try:
        return live.bundle.graph(signature)
    except NotFound as error:
        raise InvalidInput(error.message, error.hint) from error


def input_spec(live: LiveModel, graph: Graph, name: str, datatype: str, given: Collection[str]) -> TensorSpec:
    """The declaration of an input. ``given`` are the names of the inputs that were read before.

    A float32 input may be sent as BF16, which is the first half of a float32.

    Raises:
        InvalidInput: the graph has no such input, it is given twice, or it has another datatype.
    """
    if name not in graph.inputs:
        raise InvalidInput(
            f"unexpected inference input '{name}' for model '{live.name}'.", f"It takes {', '.join(graph.inputs)}."
        )
    if name in given:
        raise InvalidInput(f"input '{name}' is given twice.")
    declared = graph.inputs[name]
    if datatype != DATATYPES[declared.dtype] and not (datatype == BF16 and declared.dtype == "float32"):
        raise InvalidInput(f"input '{name}' has datatype '{datatype}'; expected {DATATYPES[declared.dtype]}.")
    return declared


async def run_graph(engine: Engine, live: LiveModel, graph: str, feeds: Arrays) -> Arrays:
    """Run a graph. Inputs of the wrong shape are refused with Triton's message.

    Raises:
        InvalidInput, Overloaded, Failed: see ``Engine.run``.
    """
    try:
        return await engine.run(live, graph, feeds)
    except InvalidInput:
        check_shapes(live, graph, feeds)
        raise


def submit_graph(
    engine: Engine, live: LiveModel, graph: str, feeds: Arrays, context: RequestContext, done: OnResult
) -> bool:
    """Like ``run_graph``, but ``done`` is called with the result; see ``Engine.submit``.

    Raises:
        InvalidInput, Overloaded: (at the call) see ``run_graph``.
    """
    try:
        return engine.submit(live, graph, feeds, context, done)
    except InvalidInput:
        check_shapes(live, graph, feeds)
        raise


def check_shapes(live: LiveModel, graph: str, feeds: Arrays) -> None:
    """Refuse inputs of another shape than the graph declares, with Triton's message.

    Raises:
        InvalidInput: an input has another shape.
    """
    for name, spec in live.bundle.graph(graph)[1].inputs.items():
        if name in feeds:
            _check_shape(live, name, spec, feeds[name].shape)


def _check_shape(live: LiveModel, name: str, spec: TensorSpec, shape: Sequence[int]) -> None:
    declared = spec.sizes()
    if not spec.ranked:
        return
    if len(shape) != len(declared) or any(size not in (-1, given) for size, given in zip(declared, shape, strict=True)):
        raise InvalidInput(
            f"unexpected shape for input '{name}' for model '{live.name}'. "
            f"Expected {_shape_text(declared)}, got {_shape_text(shape)}"
        )


def _shape_text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def requested_outputs(
    live: LiveModel, graph: Graph, requested: Sequence[tuple[str, Mapping[str, Any]]]
) -> dict[str, int]:
    """The outputs to return, in order, each with its number of classes; 0 means the tensor itself.

    ``requested`` are names and parameters; if it is empty, all outputs are returned.

    Raises:
        InvalidInput: an output is unknown or named twice, or one of its parameters is not supported.
    """
    class_counts: dict[str, int] = {}
    for name, parameters in requested:
        if name not in graph.outputs:
            raise InvalidInput(
                f"unexpected inference output '{name}' for model '{live.name}'.",
                f"It gives {', '.join(graph.outputs)}.",
            )
        if name in class_counts:
            raise InvalidInput(f"output '{name}' is requested twice.")
        check_parameters(name, parameters)
        count = parameters.get(classification.PARAMETER)
        if count is not None:
            count = classification.requested_class_count(name, graph.outputs[name], count)
        class_counts[name] = count or 0
    return class_counts or dict.fromkeys(graph.outputs, 0)


def select_outputs(live: LiveModel, graph: str, outputs: Arrays, class_counts: Mapping[str, int]) -> Arrays:
    """The requested outputs, as tensors or as their likeliest classes; see ``requested_outputs``."""
    return {
        name: classification.likeliest_classes(live, graph, name, outputs[name], count) if count else outputs[name]
        for name, count in class_counts.items()
    }


def models_for_statistics(engine: Engine, name: str, version: str) -> list[LiveModel]:
    """The live models that a statistics request names: all of them, all versions of one, or one version.

    Raises:
        InvalidInput, NotFound, NotReady: see ``find_model``.
    """
    if not name:
        return engine.models()
    live = find_model(engine, name, version)
    return [live] if version else [live for live in engine.models() if live.name == name]


def check_parameters(name: str, parameters: Collection[str]) -> None:
    """Refuse parameters of an input or output that must not be ignored.

    Raises:
        InvalidInput: there is such a parameter.
    """
    for parameter in _UNSUPPORTED:
        if parameter in parameters:
            raise InvalidInput(f"the parameter '{parameter}' of '{name}' is not supported by this server.")

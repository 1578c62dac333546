"""Asked: what a request of the Open Inference Protocol means – which model, graph, inputs and outputs.

A model's default graph answers; another one does where the request's parameter ``signature_name`` names it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bookserve.errors import InvalidInput, NotFound, NotReady
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.batching.request_context import RequestContext
from serve.batching.request_queue import OnResult
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.oip import classification
from serve.protocols.oip.tensors import DATATYPES

#: Parameters of Triton's extensions that would change the form of an answer; ignoring them would mislead.
_UNSUPPORTED = ("shared_memory_region",)


def find_model(engine: Engine, name: str, version: str) -> LiveModel:
    """The live model of that name, the newest version where ``version`` is empty.

    Raises:
        InvalidInput: the version is no number.
        NotFound: no such model or version.
        NotReady: it could not be loaded.
    """
    if version and not (version.isascii() and version.isdigit() and len(version) < 19):
        raise InvalidInput(f"the version '{version}' is not a number.")
    try:
        return engine.model(name, int(version) if version else None)
    except NotFound as error:
        which = f" version {version}" if version else ""
        raise NotFound(f"Request for unknown model: '{name}'{which} is not found.", error.hint) from error


def is_model_ready(engine: Engine, name: str, version: str) -> bool:
    """Whether that model can be asked now.

    Raises:
        InvalidInput, NotFound: see ``find``.
    """
    try:
        return find_model(engine, name, version).is_whole() and engine.ready
    except NotReady:
        return False


def find_graph(live: LiveModel, signature: Any) -> tuple[str, Graph]:
    """The graph that a request's parameter ``signature_name`` names; '' means the default one.

    Raises:
        InvalidInput: there is none of that name.
    """
    if not isinstance(signature, str):
        raise InvalidInput("the parameter signature_name is not a string.")
    try:
        return live.bundle.graph(signature)
    except NotFound as error:
        raise InvalidInput(error.message, error.hint) from error


def input_spec(live: LiveModel, graph: Graph, name: str, datatype: str, given: Collection[str]) -> TensorSpec:
    """What the graph declares about an input.

    Raises:
        InvalidInput: there is no such input, it was given before, or it is of another datatype.
    """
    if name not in graph.inputs:
        raise InvalidInput(
            f"unexpected inference input '{name}' for model '{live.name}'.", f"It takes {', '.join(graph.inputs)}."
        )
    if name in given:
        raise InvalidInput(f"input '{name}' is given twice.")
    declared = graph.inputs[name]
    if datatype != DATATYPES[declared.dtype]:
        raise InvalidInput(f"input '{name}' has datatype '{datatype}'; expected {DATATYPES[declared.dtype]}.")
    return declared


async def run_graph(engine: Engine, live: LiveModel, graph: str, feeds: Arrays) -> Arrays:
    """Run a graph; inputs of another shape than declared are refused in Triton's words.

    Raises:
        InvalidInput, Overloaded, Failed: see ``Engine.run``.
    """
    try:
        return await engine.run(live, graph, feeds)
    except InvalidInput:
        check_shapes(live, graph, feeds)
        raise


def submit_graph(
    engine: Engine, live: LiveModel, graph: str, feeds: Arrays, call: RequestContext, done: OnResult
) -> bool:
    """``run`` without a task; see ``Engine.submit``.

    Raises:
        InvalidInput, Overloaded: (at the call) see ``run``.
    """
    try:
        return engine.submit(live, graph, feeds, call, done)
    except InvalidInput:
        check_shapes(live, graph, feeds)
        raise


def check_shapes(live: LiveModel, graph: str, feeds: Arrays) -> None:
    """Refuse inputs of another shape than declared in Triton's words.

    Raises:
        InvalidInput: there is such an input.
    """
    for name, spec in live.bundle.graph(graph)[1].inputs.items():
        if name in feeds:
            _check_shape(live, name, spec, feeds[name].shape)


def _check_shape(live: LiveModel, name: str, spec: TensorSpec, shape: Sequence[int]) -> None:
    declared = spec.sizes()
    if len(shape) != len(declared) or any(size not in (-1, given) for size, given in zip(declared, shape, strict=True)):
        raise InvalidInput(
            f"unexpected shape for input '{name}' for model '{live.name}'. "
            f"Expected {_shape_text(declared)}, got {_shape_text(shape)}"
        )


def _shape_text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def requested_outputs(live: LiveModel, graph: Graph, wishes: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, int]:
    """The outputs to answer with, in order – those named, or all – and how many classes of each; 0 means the tensor.

    Raises:
        InvalidInput: one is unknown or named twice, or a parameter of it cannot be honoured.
    """
    found: dict[str, int] = {}
    for name, parameters in wishes:
        if name not in graph.outputs:
            raise InvalidInput(
                f"unexpected inference output '{name}' for model '{live.name}'.",
                f"It gives {', '.join(graph.outputs)}.",
            )
        if name in found:
            raise InvalidInput(f"output '{name}' is asked for twice.")
        check_parameters(name, parameters)
        count = parameters.get(classification.PARAMETER)
        found[name] = 0 if count is None else classification.requested_class_count(name, graph.outputs[name], count)
    return found or dict.fromkeys(graph.outputs, 0)


def select_outputs(live: LiveModel, graph: str, outputs: Arrays, wanted: Mapping[str, int]) -> Arrays:
    """The outputs that ``outputs`` told, as tensors or as their likeliest classes."""
    return {
        name: classification.likeliest_classes(live, graph, name, outputs[name], count) if count else outputs[name]
        for name, count in wanted.items()
    }


def models_for_statistics(engine: Engine, name: str, version: str) -> list[LiveModel]:
    """The live models that a request for statistics means: all, all versions of one, or one version.

    Raises:
        InvalidInput, NotFound, NotReady: see ``find``.
    """
    if not name:
        return engine.models()
    found = find_model(engine, name, version)
    return [found] if version else [live for live in engine.models() if live.name == name]


def check_parameters(name: str, parameters: Collection[str]) -> None:
    """Refuse the parameters of an output (or input) that this server cannot honour; others may be ignored.

    Raises:
        InvalidInput: it has such a parameter.
    """
    for foreign in _UNSUPPORTED:
        if foreign in parameters:
            raise InvalidInput(f"the parameter '{foreign}' of '{name}' is not supported by this server.")

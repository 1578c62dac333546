"""Asked: what a request of the Open Inference Protocol means – which model, graph, inputs and outputs.

A model's default graph answers; another one does where the request's parameter ``signature_name`` names it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bookserve.errors import InvalidInput, NotFound, NotReady
from bookserve.graph import Graph, TensorSpec
from serve.engine import Engine
from serve.model import LiveModel
from serve.v2.tensors import DATATYPES

#: Parameters of Triton's extensions that would change the form of an answer; ignoring them would mislead.
_FOREIGN = ("classification", "shared_memory_region")


def find(engine: Engine, name: str, version: str) -> LiveModel:
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


def ready(engine: Engine, name: str, version: str) -> bool:
    """Whether that model can be asked now.

    Raises:
        InvalidInput, NotFound: see ``find``.
    """
    try:
        return find(engine, name, version) is not None and engine.ready
    except NotReady:
        return False


def graph(live: LiveModel, signature: Any) -> tuple[str, Graph]:
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


def spec(live: LiveModel, graph: Graph, name: str, datatype: str, given: Collection[str]) -> TensorSpec:
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


def outputs(live: LiveModel, graph: Graph, names: list[str]) -> list[str]:
    """The outputs to answer with, in order: those named, or all.

    Raises:
        InvalidInput: one is unknown or named twice.
    """
    for place, name in enumerate(names):
        if name not in graph.outputs:
            raise InvalidInput(
                f"unexpected inference output '{name}' for model '{live.name}'.",
                f"It gives {', '.join(graph.outputs)}.",
            )
        if place >= len(graph.outputs) or name in names[:place]:
            raise InvalidInput(f"output '{name}' is asked for twice.")
    return names or list(graph.outputs)


def check_parameters(name: str, parameters: Collection[str]) -> None:
    """Refuse the parameters of an output (or input) that this server cannot honour; others may be ignored.

    Raises:
        InvalidInput: it has such a parameter.
    """
    for foreign in _FOREIGN:
        if foreign in parameters:
            raise InvalidInput(f"the parameter '{foreign}' of '{name}' is not supported by this server.")

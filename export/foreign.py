"""Foreign: what bookserve can say of a SavedModel that it did not train – graphs, a verb, and examples made up.

Everything is read from the signatures and found out by running them; nobody is asked.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.examples import Example, Examples
from bookserve.graph import DTYPES, Arrays, Graph, TensorSpec, numpy_dtype
from bookserve.steps import Numbers
from bookserve.verb import Predict
from export import parity
from export.saved import SavedModel

_ROWS = 3
_SEED = 20_180_101
#: Sizes for the axes that each call chooses, tried in turn: pictures must outlast a network's strides.
_SIZES = (8, 64, 256)
#: Upper bounds for whole numbers, tried in turn: they may be ids of a small vocabulary.
_BOUNDS = (100, 2)


class Description(NamedTuple):
    """What goes into the bundle beside the SavedModel; ``notes`` says what could not be had, in sentences."""

    verb: Predict
    graphs: dict[str, Graph]
    examples: Examples
    notes: list[str]


def describe(saved: SavedModel) -> Description:
    """Describe every signature; the one that ``serving_default`` names, or the first, is the default graph.

    Raises:
        InvalidInput: there is no signature that can be served; the message says why.
    """
    graphs: dict[str, Graph] = {}
    examples: dict[str, Example] = {}
    notes: list[str] = []
    for name in sorted(saved.signatures, key=lambda name: name != "serving_default"):
        try:
            inputs, outputs = _tensors(saved, name)
        except InvalidInput as error:
            notes.append(f"signature '{name}' is left out: {error.message}")
            continue
        try:
            feeds, given = _make_up(saved, name, inputs)
        except Failed as error:
            if any(spec.shape.rank is None for spec in outputs.values()):
                notes.append(f"signature '{name}' is left out: {error.message}")
                continue
            notes.append(f"graph '{name}' has no examples: {error.message}")
            graphs[name] = Graph(inputs=_specs(inputs, {}), outputs=_specs(outputs, {}))
            continue
        graphs[name] = _graph(saved, name, feeds, given)
        examples[name] = Example(feeds, given)
    if not graphs:
        raise InvalidInput(
            "the SavedModel has no signature that can be served. " + " ".join(notes),
            "Save it with signatures: tf.saved_model.save(module, path, signatures=…)",
        )
    default, graph = next(iter(graphs.items()))
    verb = Predict(
        inputs={name: (Numbers(spec.dtype, tuple(spec.sizes()[1:])),) for name, spec in graph.inputs.items()},
        outputs=dict.fromkeys(graph.outputs, ()),
        graph=default,
    )
    return Description(verb, graphs, Examples(examples), notes)


def _tensors(saved: SavedModel, name: str) -> tuple[Any, Any]:
    """Inputs and outputs of a signature, if ours can describe them."""
    inputs, outputs = saved.specs(name)
    if "/" in name:
        raise InvalidInput("its name holds a '/'.")
    for tensor, spec in [*inputs.items(), *outputs.items()]:
        if spec.dtype.name not in DTYPES:
            raise InvalidInput(f"'{tensor}' is of dtype {spec.dtype.name}.")
    for tensor, spec in inputs.items():
        if spec.shape.rank is None:
            raise InvalidInput(f"input '{tensor}' has no known number of axes.")
    return inputs, outputs


def _make_up(saved: SavedModel, name: str, inputs: Any) -> tuple[Arrays, Arrays]:
    """Random inputs that the signature accepts, and what it gives for them.

    Raises:
        Failed: it accepts none, or draws random numbers itself.
    """
    refused = Failed("it was never run.")
    for size, bound in itertools.product(_SIZES, _BOUNDS):
        rng = np.random.default_rng(_SEED)
        feeds = {tensor: _random(rng, spec, size, bound) for tensor, spec in inputs.items()}
        try:
            given, again = saved.run(name, feeds), saved.run(name, feeds)
        except Failed as error:
            refused = error
            continue
        if parity.compare(given, again).problem:
            raise Failed("it gives another answer to the same input each time.")
        return feeds, given
    raise refused


def _random(rng: np.random.Generator, spec: Any, size: int, bound: int) -> np.ndarray:
    shape = [
        known if known is not None else _ROWS if axis == 0 else size for axis, known in enumerate(spec.shape.as_list())
    ]
    dtype = numpy_dtype(spec.dtype.name)
    if dtype.kind == "O":
        return rng.choice(np.array([b"one", b"two", b"three"], object), shape)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else bound, shape).astype(dtype)


def _graph(saved: SavedModel, name: str, feeds: Arrays, given: Arrays) -> Graph:
    """The graph of a signature that was run; its first axes are a batch only if every row has an answer of its own."""

    def run(feeds: Arrays) -> Arrays:
        return saved.run(name, feeds)

    ranks = {tensor: array.ndim for tensor, array in [*feeds.items(), *given.items()]}
    inputs, outputs = saved.specs(name)
    graph = Graph(inputs=_specs(inputs, ranks, "batch"), outputs=_specs(outputs, ranks, "batch"))
    try:
        if graph.batched and not parity.replay(graph, Example(feeds, given), run).problem:
            return graph
    except Failed:
        pass  # it takes no other number of rows
    return Graph(inputs=_specs(inputs, ranks), outputs=_specs(outputs, ranks))


def _specs(tensors: Any, ranks: dict[str, int], batch: str = "") -> dict[str, TensorSpec]:
    """Axes of known size keep it; the others are called ``<tensor>_<axis>``, a first one ``batch`` if that is given."""
    specs = {}
    for name, spec in tensors.items():
        known = spec.shape.as_list() if spec.shape.rank is not None else [None] * ranks[name]
        axes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(known)]
        if batch and known and known[0] is None:
            axes[0] = batch
        specs[name] = TensorSpec(spec.dtype.name, tuple(axes))
    return specs

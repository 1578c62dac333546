"""Foreign: what bookserve can say of a model that it did not train – graphs, a verb, and examples made up.

Everything is read from the model's own description and found out by running it; what its maker knows beside that comes
from ``export/sources/config.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from bookserve.bundle import parity
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import DTYPES, Arrays, Graph, TensorSpec, numpy_dtype
from bookserve.verb import Predict
from export.sources import apply_config as knowledge
from export.sources.config import Config

_ROWS = 3
_SEED = 20_180_101
#: Sizes for the axes that each call chooses, tried in turn: pictures must outlast a network's strides.
_SIZES = (8, 64, 256)
#: Upper bounds for whole numbers, tried in turn: they may be ids of a small vocabulary.
_BOUNDS = (100, 2)


class Tensor(NamedTuple):
    """What a model says of one tensor. An axis is a size, the name of a size that each call chooses, or None for one.

    ``shape`` is None where not even the number of axes is known.
    """

    dtype: str
    shape: tuple[int | str | None, ...] | None


class Model(Protocol):
    """A model in memory, with everything that is asked of it here."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """What it can be called for, by name."""

    def tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The inputs and outputs of a signature."""

    def run(self, name: str, feeds: Arrays) -> Arrays:
        """Run a signature; ``Failed`` or ``InvalidInput`` where it refuses."""

    def parameters(self) -> int:
        """How many weights it has."""


class Description(NamedTuple):
    """What goes into the bundle beside the model; ``notes`` says what could not be had, in sentences."""

    verb: Predict
    graphs: dict[str, Graph]
    examples: Examples
    notes: list[str]


def describe_model(model: Model, config: Config) -> Description:
    """Describe every signature; the one that ``serving_default`` names, or the first, is the default graph.

    Raises:
        InvalidInput: there is no signature that can be served, or ``config`` does not fit the default graph.
    """
    graphs: dict[str, Graph] = {}
    examples: dict[str, Example] = {}
    notes: list[str] = []
    for name in sorted(model.signatures, key=lambda name: name != "serving_default"):
        try:
            inputs, outputs = _tensors(model, name)
        except InvalidInput as error:
            notes.append(f"signature '{name}' is left out: {error.message}")
            continue
        try:
            feeds, given = _make_up(model, name, inputs)
        except Failed as error:
            if any(tensor.shape is None for tensor in outputs.values()):
                notes.append(f"signature '{name}' is left out: {error.message}")
                continue
            notes.append(f"graph '{name}' has no examples: {error.message}")
            graphs[name] = Graph(inputs=_specs(inputs, {}), outputs=_specs(outputs, {}))
            continue
        graphs[name] = _graph(model, name, feeds, given)
        examples[name] = Example(feeds, given)
    if not graphs:
        raise InvalidInput(
            "the model has no signature that can be served. " + " ".join(notes),
            "A SavedModel gets signatures by: tf.saved_model.save(module, path, signatures=…)",
        )
    default, graph = next(iter(graphs.items()))
    known = knowledge.apply_config(
        config,
        default,
        graph,
        examples.get(default),
        lambda feeds: model.run(default, feeds),
        np.random.default_rng(_SEED),
    )
    if known.example:
        examples[default] = known.example
    return Description(known.verb, graphs, Examples(examples, known.rows), notes + known.notes)


def _tensors(model: Model, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and outputs of a signature, if ours can describe them."""
    inputs, outputs = model.tensors(name)
    if "/" in name:
        raise InvalidInput("its name holds a '/'.")
    for key, tensor in [*inputs.items(), *outputs.items()]:
        if tensor.dtype not in DTYPES:
            raise InvalidInput(f"'{key}' is of dtype {tensor.dtype}.")
    for key, tensor in inputs.items():
        if tensor.shape is None:
            raise InvalidInput(f"input '{key}' has no known number of axes.")
    return inputs, outputs


def _make_up(model: Model, name: str, inputs: dict[str, Tensor]) -> tuple[Arrays, Arrays]:
    """Random inputs that the signature accepts, and what it gives for them.

    Raises:
        Failed: it accepts none, or draws random numbers itself.
    """
    refused: Failed | InvalidInput = Failed("it was never run.")
    for size, bound in itertools.product(_SIZES, _BOUNDS):
        rng = np.random.default_rng(_SEED)
        sizes: dict[str, int] = {}
        feeds = {key: _random(rng, tensor, size, bound, sizes) for key, tensor in inputs.items()}
        try:
            given, again = model.run(name, feeds), model.run(name, feeds)
        except (Failed, InvalidInput) as error:
            refused = error
            continue
        if parity.compare(given, again).problem:
            raise Failed("it gives another answer to the same input each time.")
        return feeds, given
    raise Failed(refused.message)


def _random(rng: np.random.Generator, tensor: Tensor, size: int, bound: int, sizes: dict[str, int]) -> np.ndarray:
    """Random values; axes of one name get one size, which ``sizes`` remembers from tensor to tensor."""

    def length(position: int, axis: int | str | None) -> int:
        if isinstance(axis, int):
            return axis
        usual = size if position else _ROWS
        return sizes.setdefault(axis, usual) if axis else usual

    shape = [length(position, axis) for position, axis in enumerate(tensor.shape or ())]
    dtype = numpy_dtype(tensor.dtype)
    if dtype.kind == "O":
        return rng.choice(np.array([b"one", b"two", b"three"], object), shape)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else bound, shape).astype(dtype)


def _graph(model: Model, name: str, feeds: Arrays, given: Arrays) -> Graph:
    """The graph of a signature that was run; its first axes are a batch only if every row has an answer of its own."""

    def run(feeds: Arrays) -> Arrays:
        return model.run(name, feeds)

    inputs, outputs = model.tensors(name)
    shapes = {key: array.shape for key, array in given.items()}
    graph = Graph(inputs=_specs(inputs, {}, "batch"), outputs=_specs(outputs, shapes, "batch"))
    try:
        if graph.batched and not parity.replay(graph, Example(feeds, given), run).problem:
            return graph
    except (Failed, InvalidInput):
        pass  # it takes no other number of rows
    return Graph(inputs=_specs(inputs, {}), outputs=_specs(outputs, shapes))


def _specs(tensors: dict[str, Tensor], given: dict[str, tuple[int, ...]], batch: str = "") -> dict[str, TensorSpec]:
    """Axes of known size or name keep it; the others are called ``<tensor>_<axis>``, a first one ``batch`` if given.

    ``given`` are the shapes that outputs had when the model ran, which corrects those that it declares wrongly.
    """
    specs = {}
    for key, tensor in tensors.items():
        declared = tensor.shape
        if key in given and (declared is None or not _fits(declared, given[key])):
            declared = (None,) * len(given[key])
        axes = [f"{key}_{axis}" if size in (None, "batch") else size for axis, size in enumerate(declared or ())]
        if batch and axes and isinstance(axes[0], str):
            axes[0] = batch
        specs[key] = TensorSpec(tensor.dtype, tuple(axes))
    return specs


def _fits(declared: tuple[int | str | None, ...], shape: tuple[int, ...]) -> bool:
    return len(declared) == len(shape) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(declared, shape, strict=True)
    )

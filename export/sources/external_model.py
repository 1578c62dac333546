"""Describes a model that bookserve did not train, for its bundle: graphs, a verb, and made-up examples.

The graphs are found out by ``bookserve/formats/external_model.py``. What only the model's author knows comes from a
configuration file (``export/sources/config.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from bookserve.bundle import parity
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed, InvalidInput
from bookserve.formats import external_model
from bookserve.graph import Arrays, Graph
from bookserve.runtime.base import Declarations, GraphHints
from bookserve.verb import Predict
from export.sources.apply_config import apply_config
from export.sources.config import Config

_SEED = 20_180_101


class Model(Protocol):
    """A model in memory."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Its signatures by name."""

    def tensors(self, name: str) -> tuple[Declarations, Declarations]:
        """The inputs and outputs of a signature, each by name."""

    def run(self, name: str, feeds: Arrays) -> Arrays:
        """Run a signature; ``Failed`` or ``InvalidInput`` where it refuses."""

    def hints(self, name: str) -> GraphHints:
        """What is known about the inputs of a signature besides their declarations."""

    def parameters(self) -> int:
        """How many weights it has."""


class Description(NamedTuple):
    """What goes into the bundle beside the model; ``notes`` are sentences about what is left out."""

    verb: Predict
    graphs: dict[str, Graph]
    examples: Examples
    notes: list[str]


def describe_model(model: Model, config: Config) -> Description:
    """Describe every signature; the one that ``serving_default`` names, or the first, is the default graph.

    Raises:
        InvalidInput: there is no signature that can be served, none answers any made-up input, or ``config`` does not
            fit the default graph.
    """
    graphs: dict[str, Graph] = {}
    examples: dict[str, Example] = {}
    notes: list[str] = []
    answers = False
    for name in sorted(model.signatures, key=lambda name: name != "serving_default"):
        try:
            inputs, outputs = _declarations(model, name)
        except (Failed, InvalidInput) as error:
            notes.append(f"signature '{name}' is left out: {error.message}")
            continue
        if not graphs:  # it is the default graph
            inputs, outputs = _with_known_shapes(config.shapes, inputs, outputs)
        run, hints = partial(model.run, name), model.hints(name)
        try:
            example = external_model.run_made_up_inputs(inputs, run, hints)
            constant = not parity.compare(example.outputs, run(example.inputs), hints.half).problem
        except (Failed, InvalidInput) as error:
            graphs[name] = external_model.graph_of_declarations(inputs, outputs)
            notes.append(f"graph '{name}' has no examples: {error.message}")
            answers = answers or hints.has_state
            continue
        answers = True
        if not constant:
            graphs[name] = external_model.graph_of_declarations(inputs, outputs)
            notes.append(f"graph '{name}' has no examples: it gives another answer to the same input each time.")
            continue
        graphs[name] = external_model.graph_of_example(inputs, outputs, example, run, half=hints.half)
        examples[name] = example
    if not graphs:
        raise InvalidInput(
            "the model has no signature that can be served. " + " ".join(notes),
            "A SavedModel gets signatures by: tf.saved_model.save(module, path, signatures=…)",
        )
    default, graph = next(iter(graphs.items()))
    known = apply_config(
        config,
        default,
        graph,
        examples.get(default),
        lambda feeds: model.run(default, feeds),
        np.random.default_rng(_SEED),
    )
    if known.example:
        examples[default] = known.example
    elif not answers:
        raise InvalidInput(
            "the model answers no input that could be made up for it, so nothing shows that it works. "
            + " ".join(notes),
            "Describe what it takes in the file of --config: Steps under [inputs], or the sizes of free axes under "
            "[shapes] (docs/export.md).",
        )
    return Description(known.verb, graphs, Examples(examples, known.rows), notes + known.notes)


def _declarations(model: Model, name: str) -> tuple[Declarations, Declarations]:
    inputs, outputs = model.tensors(name)
    external_model.check_declarations(inputs, outputs)
    return inputs, outputs


def _with_known_shapes(
    shapes: Mapping[str, tuple[int | str, ...]], inputs: Declarations, outputs: Declarations
) -> tuple[Declarations, Declarations]:
    """The declarations with the shapes that the configuration gives.

    Raises:
        InvalidInput: there is no such tensor, or its shape contradicts what the model declares.
    """
    declared = {**inputs, **outputs}
    for key, shape in shapes.items():
        if key not in declared:
            raise InvalidInput(f"the model has no input or output '{key}'.", f"It has: {', '.join(declared)}.")
        own = declared[key].shape
        if own is not None and not (
            len(own) == len(shape)
            and all(not isinstance(a, int) or not isinstance(b, int) or a == b for a, b in zip(own, shape, strict=True))
        ):
            raise InvalidInput(f"'{key}' has the shape {list(own)} in the model; the configuration says {list(shape)}.")
        axes = tuple(None if axis == "batch" else axis for axis in shape)
        for side in (inputs, outputs):
            if key in side:
                side[key] = side[key]._replace(shape=axes)
    return inputs, outputs

"""TfExample: what TensorFlow Serving's Classify and Regress mean for a model, read off its verb.

Both take ``tf.Example``s, one a row, each with one feature that bears the name of the graph's input and holds the
numbers of a row *after* the Steps. Classify gives every label with its score, in the model's own order; Regress gives
one number a row, after the output's Steps. The exporter writes signatures of these names; a server can answer the same
calls from the graph's ONNX form.

Source: TensorFlow Serving's ``classification.proto`` and ``regression.proto``; a SavedModel's signature methods.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from bookserve.graph import Graph, TensorSpec
from bookserve.steps import BinaryLabel, MultiLabel, Scale, Step, TopLabels
from bookserve.verb import Predict, Verb


class Feature(msgspec.Struct, frozen=True):
    """The one feature of each ``tf.Example``: its name, and the graph's input that it becomes."""

    name: str
    spec: TensorSpec

    @property
    def kind(self) -> str:
        """Which list of a ``tf.train.Feature`` holds it: ``float_list``, ``int64_list`` or ``bytes_list``."""
        if self.spec.dtype == "string":
            return "bytes_list"
        return "float_list" if np.dtype(self.spec.dtype).kind == "f" else "int64_list"


class Classify(msgspec.Struct, frozen=True):
    """Signature ``classify``: ``inputs`` string [batch] → ``classes`` string and ``scores`` float32 [batch, labels]."""

    graph: str
    feature: Feature
    output: str
    labels: tuple[str, ...]
    #: Whether the graph gives the second label's probability alone.
    either: bool = False

    def scores(self, output: np.ndarray) -> np.ndarray:
        """The graph's output as float32 [batch, labels]."""
        if not self.either:
            return np.asarray(output, np.float32)
        second = np.asarray(output, np.float32).reshape(-1, 1)
        return np.concatenate([1 - second, second], axis=1)


class Regress(msgspec.Struct, frozen=True):
    """Signature ``regress``: ``inputs`` string [batch] → ``outputs`` float32 [batch], in the unit that people read."""

    graph: str
    feature: Feature
    output: str
    scales: tuple[Scale, ...] = ()

    def values(self, output: np.ndarray) -> np.ndarray:
        """The graph's output as float32 [batch]."""
        for scale in self.scales:
            output = scale(output)
        return np.asarray(output, np.float32).reshape(-1)


def example_signatures_of(verb: Verb, graphs: Mapping[str, Graph]) -> Classify | Regress | None:
    """What a model answers of the two; None where neither makes sense.

    It must predict from one input, whose rows all have one shape, and give one output: probabilities with labels, or
    one number.
    """
    if not isinstance(verb, Predict) or verb.graph not in graphs:
        return None
    graph = graphs[verb.graph]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or not graph.batched:
        return None
    (name, taken), (output, given) = *graph.inputs.items(), *graph.outputs.items()
    if any(isinstance(axis, str) for axis in (*taken.shape[1:], *given.shape[1:])) or given.dtype != "float32":
        return None
    steps: tuple[Step, ...] = verb.outputs.get(output, ())
    feature = Feature(name, taken)
    numbers = int(np.prod(given.sizes()[1:]))
    if len(steps) == 1 and isinstance(steps[0], TopLabels | MultiLabel) and numbers == len(steps[0].labels):
        return Classify(verb.graph, feature, output, steps[0].labels)
    if len(steps) == 1 and isinstance(steps[0], BinaryLabel) and numbers == 1:
        return Classify(verb.graph, feature, output, steps[0].labels, either=True)
    scales = tuple(step for step in steps if isinstance(step, Scale))
    if numbers == 1 and len(scales) == len(steps):
        return Regress(verb.graph, feature, output, scales)
    return None


def example_graph_of(signature: str, verb: Verb, graphs: Mapping[str, Graph]) -> str:
    """The name of the graph that the signature ``classify`` or ``regress`` is made of; any other name as it is."""
    answer = None if signature in graphs else example_signatures_of(verb, graphs)
    return answer.graph if answer and signature == signature_name(answer) else signature


def signature_name(answer: Classify | Regress) -> str:
    """``classify`` or ``regress``: the signature's name, and the end of its method's."""
    return type(answer).__name__.lower()

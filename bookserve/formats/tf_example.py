"""Derive TensorFlow Serving's Classify and Regress for a model from its verb.

Both take ``tf.Example``s, one per row. Each has one feature with the name of the graph's input, which holds the numbers
of a row *after* the Steps. Classify returns every label with its score, in the model's order; Regress returns one
number per row, after the Steps of the output. The exporter writes signatures with these names; the server answers the
same calls with the graph's ONNX file.

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
    """The feature of each ``tf.Example``: its name, and the graph's input that it is converted to."""

    name: str
    spec: TensorSpec

    @property
    def kind(self) -> str:
        """The field of ``tf.train.Feature`` that holds it: ``float_list``, ``int64_list`` or ``bytes_list``."""
        if self.spec.dtype == "string":
            return "bytes_list"
        return "float_list" if np.dtype(self.spec.dtype).kind == "f" else "int64_list"


class Classify(msgspec.Struct, frozen=True):
    """Signature ``classify``: ``inputs`` string [batch] → ``classes`` string and ``scores`` float32 [batch, labels]."""

    graph: str
    feature: Feature
    output: str
    labels: tuple[str, ...]
    #: Whether the graph returns only the probability of the second of two labels.
    either: bool = False

    def scores(self, output: np.ndarray) -> np.ndarray:
        """The graph's output as float32 [batch, labels]."""
        if not self.either:
            return np.asarray(output, np.float32)
        second = np.asarray(output, np.float32).reshape(-1, 1)
        return np.concatenate([1 - second, second], axis=1)


class Regress(msgspec.Struct, frozen=True):
    """Signature ``regress``: ``inputs`` string [batch] → ``outputs`` float32 [batch], in the unit of the data."""

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
    """Whether a model answers Classify or Regress; None for neither.

    It must predict, with one input of fixed shape and one output: probabilities with labels, or one number.
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
    """The graph behind the signature ``classify`` or ``regress``; other names are returned unchanged."""
    answer = None if signature in graphs else example_signatures_of(verb, graphs)
    return answer.graph if answer and signature == signature_name(answer) else signature


def signature_name(answer: Classify | Regress) -> str:
    """``classify`` or ``regress``: the name of the signature, and the last part of its method name."""
    return type(answer).__name__.lower()

"""Skew: do the raw rows of a bundle's examples still become the very tensors that the model was trained on?"""

from __future__ import annotations

import numpy as np

from bookserve.bundle import Manifest
from bookserve.bundle.examples import Examples
from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from bookserve.steps import Rows, apply_steps
from bookserve.verb import Generate, Predict, Transform
from export.verify import parity


def find_skew(manifest: Manifest, examples: Examples) -> str:
    """In words, how rows that pass through the verb's Steps differ from the stored tensors; '' where they do not.

    There is nothing to compare, and so no skew, without rows or without Steps before the graph.
    """
    if not len(examples.rows):
        return ""
    rows = examples.rows.tolist() if examples.rows.dtype.kind == "U" else examples.rows
    graph, input_names = _entry_graph(manifest)
    stored = examples.graphs.get(graph)
    if stored is None or len(input_names) != 1:
        return ""
    name = input_names[0]
    try:
        feed = _apply_input_steps(manifest, name, rows)
    except BookserveError as error:
        return f"the rows do not pass the Steps of '{name}': {error.message}"
    problem = parity.compare({name: stored.inputs[name]}, {name: feed}).problem
    return problem and f"the rows do not become the stored tensors: {problem.replace('output', 'input', 1)}"


def _entry_graph(manifest: Manifest) -> tuple[str, list[str]]:
    """The graph that rows go into, and its inputs that come from them."""
    verb = manifest.verb
    if isinstance(verb, Predict):
        graph = verb.graph if verb.graph in manifest.graphs else manifest.default
        return graph, list(verb.inputs)
    if isinstance(verb, Generate):
        return manifest.default, ["characters"]
    if isinstance(verb, Transform) or verb.encode is None:
        return "", []
    return verb.encode, list(manifest.graphs[verb.encode].inputs)


def _apply_input_steps(manifest: Manifest, name: str, rows: Rows) -> np.ndarray:
    verb = manifest.verb
    if isinstance(verb, Predict):
        arrays: Arrays = verb.encode(rows)
        return arrays[name]
    if isinstance(verb, Generate):
        return np.stack(verb.characters(rows))
    return np.asarray(apply_steps(verb.before, rows))

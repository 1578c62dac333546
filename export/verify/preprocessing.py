"""Check the preprocessing: do the Steps still turn the example rows into the tensors that the model was trained on?"""

from __future__ import annotations

import numpy as np

from bookserve.bundle import Manifest, parity
from bookserve.bundle.examples import Examples
from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from bookserve.steps import Rows, apply_steps
from bookserve.verb import Generate, Predict, Transform


def find_skew(manifest: Manifest, examples: Examples) -> str:
    """Apply the verb's Steps to the rows of the examples, and describe how the result differs from the stored tensors.

    Returns '' if it does not differ, and where there is nothing to compare: without rows, or without Steps before the
    graph.
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
        return f"the Steps of input '{name}' refuse the rows of the examples: {error.message}"
    problem = parity.compare({name: stored.inputs[name]}, {name: feed}).problem
    return problem and (
        f"the Steps give other tensors than those the model was trained on: {problem.replace('output', 'input', 1)}"
    )


def _entry_graph(manifest: Manifest) -> tuple[str, list[str]]:
    """Return the graph that takes the rows, and the names of its inputs that are made from them."""
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

"""Composite: a graph made of other graphs, each of which takes tensors of the whole by name and gives it new ones.

The members are graphs of other models, or of the same bundle; a composite is never a member itself. The server runs
members that need nothing of each other side by side, and shares them with requests to the members themselves
(``serve/models/composite.py``). Other programs run them one after the other (``bookserve/runtime/composite.py``).

Source: ensembles of Triton, whose steps map tensors by name in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from bookserve.graph import Graph, Member


def execution_rounds(graph: Graph) -> list[list[Member]]:
    """The members in the order in which they can run; those of one round need nothing of each other.

    A member whose inputs nobody gives is in none.
    """
    known, left, found = set(graph.inputs), list(graph.members), []
    while ready := [member for member in left if known.issuperset(member.inputs.values())]:
        found.append(ready)
        left = [member for member in left if member not in ready]
        known.update(chain(*(member.outputs.values() for member in ready)))
    return found


def composite_problem(graph: Graph, own: Mapping[str, Graph]) -> str:
    """In words, why the members cannot make up ``graph``; '' if they can. ``own`` are all graphs of its bundle."""
    if graph.onnx:
        return f"has both the file {graph.onnx!r} and members"
    given = [*graph.inputs, *chain(*(member.outputs.values() for member in graph.members))]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        return f"gives the tensor '{twice}' more than once"
    for member in graph.members:
        if not member.model and (member.graph not in own or own[member.graph].members):
            return f"has the member '{member.graph}', which is no graph of this bundle with a form of its own"
        if bool(member.model) != (member.version > 0):
            return f"has the member {member}, which is no version of a model"
    running = list(chain(*execution_rounds(graph)))
    late = next((member for member in graph.members if member not in running), None)
    if late:
        return f"has the member {late}, whose inputs nobody gives"
    missing = next((name for name in graph.outputs if name not in given), None)
    return f"has the output '{missing}', which nobody gives" if missing is not None else ""

"""Check composites and order their members.

A composite is a graph made of other graphs, its members. Each member takes some of the composite's tensors by name and
adds its outputs to them. Members are graphs of other models or of the same bundle, but not composites themselves. The
server runs independent members at the same time and shares their sessions with direct requests
(``serve/models/composite.py``); ``bookserve/runtime`` runs one after the other.

Source: ensembles of Triton, whose steps map tensors by name in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from bookserve.graph import Graph, Member


def execution_rounds(graph: Graph) -> list[list[Member]]:
    """The members in rounds, in the order in which they can run; the members of one round are independent.

    A member with an input that no other member provides is in no round.
    """
    known, left, found = set(graph.inputs), list(graph.members), []
    while ready := [member for member in left if known.issuperset(member.inputs.values())]:
        found.append(ready)
        left = [member for member in left if member not in ready]
        known.update(chain(*(member.outputs.values() for member in ready)))
    return found


def composite_problem(graph: Graph, own: Mapping[str, Graph]) -> str:
    """Why the members cannot form ``graph``, as a sentence without subject; '' if they can.

    ``own`` are all graphs of its bundle.
    """
    if graph.onnx:
        return f"has both the file {graph.onnx!r} and members"
    given = [*graph.inputs, *chain(*(member.outputs.values() for member in graph.members))]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        return f"gives the tensor '{twice}' more than once"
    for member in graph.members:
        if not member.model and (member.graph not in own or own[member.graph].members):
            return f"has the member '{member.graph}', which is not a graph of this bundle that can run by itself"
        if bool(member.model) != (member.version > 0):
            return f"has the member {member}, which does not name a version of a model"
    running = list(chain(*execution_rounds(graph)))
    late = next((member for member in graph.members if member not in running), None)
    if late:
        return f"has the member {late}, whose inputs no member provides"
    missing = next((name for name in graph.outputs if name not in given), None)
    return f"has the output '{missing}', which no member provides" if missing is not None else ""

"""Remove assignments to variables that no output reads, such as the seeds of dropout, before weights become constants.

A constant cannot be assigned to. Where an output does read the variable, as that of a counter, the assignment stays:
such a signature has no form without variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_ASSIGNMENTS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")


def drop_unread_assignments(graph_def: Any, outputs: Sequence[str]) -> None:
    """Remove them from a ``GraphDef`` and its functions, in place; ``outputs`` are the names of nodes of the graph."""
    _drop(graph_def.node, outputs)
    for function in graph_def.library.function:
        dropped = _drop(function.node_def, [_node(value) for value in function.ret.values()])
        for key in [key for key, name in function.control_ret.items() if name in dropped]:
            del function.control_ret[key]
        kept = [name for name in function.signature.control_output if name in function.control_ret]
        function.signature.control_output[:] = kept


def _drop(nodes: Any, outputs: Iterable[str]) -> set[str]:
    """Remove the assignments among ``nodes`` whose variable no output reads; return their names."""
    by_name = {node.name: node for node in nodes}
    needed, waiting = set[str](), list(outputs)
    while waiting:
        name = waiting.pop()
        if name in needed or name not in by_name:
            continue
        needed.add(name)
        waiting += [_node(tensor) for tensor in by_name[name].input if not tensor.startswith("^")]
    read = {_node(tensor) for name in needed for tensor in by_name[name].input}
    dropped = {node.name for node in nodes if node.op in _ASSIGNMENTS and _node(node.input[0]) not in read}
    if dropped:
        kept = [node for node in nodes if node.name not in dropped]
        for node in kept:
            node.input[:] = [tensor for tensor in node.input if tensor.removeprefix("^") not in dropped]
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del nodes[:]
        nodes.extend(copies)
    return dropped


def _node(tensor: str) -> str:
    """The node, or the argument of a function, that a tensor comes from."""
    return tensor.removeprefix("^").partition(":")[0]

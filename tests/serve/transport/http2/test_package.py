"""The package http2 stands alone: import-linter does not see imports under TYPE_CHECKING, this test does."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import serve.transport.http2 as package


def imports_by_module() -> dict[str, set[str]]:
    """The full names that each module of the package imports, wherever the statement stands."""
    found: dict[str, set[str]] = {}
    for path in Path(package.__path__[0]).glob("*.py"):
        module = package.__name__ if path.stem == "__init__" else f"{package.__name__}.{path.stem}"
        names = found.setdefault(module, set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path.name} has a relative import"
                inside = node.module == package.__name__
                names.update(f"{node.module}.{alias.name}" if inside else str(node.module) for alias in node.names)
    return found


def test_it_imports_the_standard_library_grpc_and_hpack_alone() -> None:
    allowed = {*sys.stdlib_module_names, "grpc", "hpack"}
    for module, names in imports_by_module().items():
        foreign = {name for name in names if name.split(".")[0] not in allowed} - imports_by_module().keys()
        assert not foreign, f"{module} imports {sorted(foreign)}"


def test_no_import_circle() -> None:
    own = imports_by_module()
    graph = {module: names & own.keys() for module, names in own.items()}
    assert sum(map(len, graph.values())) > 10
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError

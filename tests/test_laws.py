"""Laws that no linter knows: small files that say what they are, and no pickle anywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("bookserve", "trainers", "export", "serve", "clients")
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "_pb2" not in path.name]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_is_and_is_not_long(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert text.count("\n") <= 600, "split it: one subject a file"
    assert not re.fullmatch(r"(utils?|helpers?|common|misc|manager|factory|processor)\.py", path.name)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_is_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"} & set(imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_happens_at_import(path: Path) -> None:
    """Module level holds definitions: no calls but those that define a constant, a type or a command."""
    if path.name == "__main__.py":
        return
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno}: a bare call at import"
        assert not isinstance(node, ast.For | ast.While | ast.With), f"line {node.lineno}: work at import"


def test_the_readme_tells_the_two_commands_and_the_tree() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for promised in ("make demo", "make test", *(f"{room}/" for room in ROOMS), "tests/", "deploy/", "docs/"):
        assert promised in readme

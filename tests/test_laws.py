"""Checks rules of the source tree that no linter knows: sizes, import cycles, pickle, work at import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PACKAGES = ("bookserve", "trainers", "export", "serve", "clients", "deploy/fleet", "deploy/rayserve")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if "_pb2" not in path.name]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
#: Files are cut by cohesion: one subject a file, and few subjects need more lines than this.
LINES = 600
#: Entries of a folder that a newcomer can take in at one look.
ENTRIES = 20


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules and the symbols that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def test_files_are_short_and_named_after_their_subject() -> None:
    vague = re.compile(r"(utils?|helpers?|common|misc|manager|factory|processor)\.py")
    offenders = [
        *(f"{name(path)}: more than {LINES} lines" for path in MODULES if path.read_text("utf-8").count("\n") > LINES),
        *(f"{name(path)}: the name says nothing" for path in MODULES if vague.fullmatch(path.name)),
    ]
    assert not offenders, "\n".join(offenders)


def test_modules_have_a_docstring() -> None:
    offenders = [name(path) for path in MODULES + TESTS if parsed(path).body and not ast.get_docstring(parsed(path))]
    assert not offenders, "\n".join(offenders)


def test_folders_have_few_entries() -> None:
    offenders = []
    for package in (*PACKAGES, "tests"):
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")}):
            entries = [entry for entry in folder.iterdir() if entry.name not in ("__pycache__", "__init__.py")]
            if len(entries) > ENTRIES:
                offenders.append(f"{name(folder)}: {len(entries)} entries, at most {ENTRIES}")
    assert not offenders, "\n".join(offenders)


def test_nothing_is_unpickled() -> None:
    picklers = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
    offenders = []
    for path in MODULES:
        for used in imported(parsed(path)):
            if used.partition(".")[0] in picklers:
                offenders.append(f"{name(path)}: imports {used}")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                refused = isinstance(node.value, ast.Constant) and node.value.value is False
                if not refused:
                    offenders.append(f"{name(path)}:{node.value.lineno}: allow_pickle is not False")
    assert not offenders, "\n".join(offenders)


def test_nothing_happens_at_import() -> None:
    """Module level holds definitions: no calls but those that define a constant, a type or a command."""
    offenders = []
    for path in MODULES:
        for node in parsed(path).body if path.name != "__main__.py" else ():
            if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
                offenders.append(f"{name(path)}:{node.lineno}: a bare call at import")
            if isinstance(node, ast.For | ast.While | ast.With):
                offenders.append(f"{name(path)}:{node.lineno}: work at import")
    assert not offenders, "\n".join(offenders)


def import_cycles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan's strongly connected parts)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in sorted(graph.find_modules_directly_imported_by(module)):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            at = stack.index(module)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(graph.modules):
        if module not in order:
            visit(module)
    return found


def test_cycles_are_found() -> None:
    graph = grimp.ImportGraph()
    for importer, other in ("ab", "bc", "ca", "cd", "de", "ed", "fa"):
        graph.add_import(importer=importer, imported=other)
    assert import_cycles(graph) == [["d", "e"], ["a", "b", "c"]]


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and those for type checkers count: a cycle of types is one for the reader, too."""
    graph = grimp.build_graph(*(Path(package).name for package in PACKAGES), cache_dir=None)
    cycles = import_cycles(graph)
    assert not cycles, "\n".join(" <-> ".join(cycle) for cycle in cycles)


def test_no_test_module_imports_another() -> None:
    """What several test modules share lies in a module or a fixture beside them."""
    offenders = [
        f"{name(path)}: {used}"
        for path in TESTS
        for used in imported(parsed(path))
        if used.startswith(("tests.", ".")) and ".test_" in used
    ]
    assert not offenders, "\n".join(offenders)


def test_the_readme_names_the_commands_and_the_tree() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    promised = (
        "make demo",
        "make test",
        *(f"{package}/" for package in PACKAGES if "/" not in package),
        "tests/",
        "deploy/",
        "docs/",
    )
    missing = [part for part in promised if part not in readme]
    assert not missing, "\n".join(missing)


def test_pre_commit_runs_what_make_check_runs() -> None:
    checks = re.search(r"^CHECKS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    hooks = re.findall(r"entry: make --silent (\S+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert checks
    assert hooks == checks[1].split()

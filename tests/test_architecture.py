"""The documentation names only what exists: folders, files, functions, commands, options and make targets."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from bookserve.cli.main import COMMANDS, cli

ROOT = Path(__file__).parent.parent
PACKAGES = ("bookserve", "trainers", "export", "serve", "clients")
GUIDES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [ROOT / name for name in GUIDES] + sorted(
    page for page in (ROOT / "docs").rglob("*.md") if "decisions" not in page.parts
)
PAGES += sorted((ROOT / "deploy").glob("*.md"))

#: A tree in a code block: two spaces of indentation for each level, the folder's name and a slash.
FOLDER = re.compile(r"^((?:  )*)([\w.]+)/(?: |$)")
#: Files and folders of the repository, as far as they are named with their path.
FILE = re.compile(r"`((?:bench|bookserve|clients|deploy|docs|export|results|serve|tests|trainers)/[\w./-]*)`")
#: Definitions, as `module.name` or `module.Class.method`.
NAME = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+)(?:\(.*?\))?`")
#: Not modules: a package of gRPC, and a group of entry points.
OTHER = ("bookserve.v1", "bookserve.runtimes")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(page: str) -> list[str]:
    """The folders that a page's tree lists, as paths."""
    text = (ROOT / page).read_text("utf-8")
    block = re.search(r"<!-- tree -->\n```\n(.*?)```\n<!-- /tree -->", text, re.DOTALL)
    assert block, f"{page} has no tree between its markers"
    folders: list[str] = []
    parents: list[str] = []
    for line in block[1].splitlines():
        if match := FOLDER.match(line):
            parents = [*parents[: len(match[1]) // 2], match[2]]
            folders.append("/".join(parents))
    return folders


def packages() -> set[str]:
    """The folders with Python modules; the chapters of the book count as one."""
    found = {named(path.parent) for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")}
    return {re.sub(r"/ch\d\d$", "/chNN", path) for path in found}


def test_the_tree_of_the_architecture_page_is_that_of_the_packages() -> None:
    listed = tree("ARCHITECTURE.md")
    assert len(listed) == len(set(listed))
    missing = packages() - set(listed)
    assert not missing, f"ARCHITECTURE.md does not list {sorted(missing)}"
    gone = [path for path in listed if path not in packages() and not (ROOT / path).is_dir()]
    assert not gone, f"ARCHITECTURE.md lists folders that do not exist: {gone}"


def test_the_tree_of_the_readme_is_that_of_the_top_level() -> None:
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()}
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert set(tree("README.md")) == there - ignored - {"__pycache__"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    gone = [path for path in FILE.findall(page.read_text("utf-8")) if not exists(path)]
    assert not gone, f"{named(page)} names files that do not exist: {gone}"


def exists(path: str) -> bool:
    if "chNN" in path:
        return (ROOT / path.partition("/chNN")[0]).is_dir()
    return (ROOT / path).exists()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
    gone = [link for link in links if not (page.parent / link).exists()]
    assert not gone, f"{named(page)} links to files that do not exist: {gone}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_definitions_that_are_named_exist(page: Path) -> None:
    names = [name for name in NAME.findall(page.read_text("utf-8")) if not name.startswith(OTHER)]
    gone = [name for name in names if not defined(name)]
    assert not gone, f"{named(page)} names what is not defined: {gone}"


@cache
def defined(name: str) -> bool:
    """Whether ``name`` is a module or something defined (or imported) at the top level or in a class of one."""
    words = name.split(".")
    for split in range(len(words), 0, -1):
        path = ROOT.joinpath(*words[:split])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            return holds(ast.parse(file.read_text("utf-8")), words[split:])
    return False


def holds(body: ast.AST, words: list[str]) -> bool:
    if not words:
        return True
    for node in ast.iter_child_nodes(body):
        if isinstance(node, ast.If):  # TYPE_CHECKING
            if holds(node, words):
                return True
        elif words[0] in names_of(node):
            return len(words) == 1 or holds(node, words[1:])
    return False


def names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The code blocks of a page in one of ``languages``."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        if language in languages:
            yield block


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command line in a page's code blocks that begins with ``bookserve`` or ``make``."""
    for block in blocks(page, "", "sh", "bash", "console"):
        for line in block.splitlines():
            line = line.removeprefix("$ ")
            for command in line.partition(" #")[0].split(" · "):
                if command.startswith(("bookserve ", "make ")):
                    yield shlex.split(command.replace("…", ""))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    inline = re.findall(r"`make ([\w-]+)", page.read_text("utf-8"))
    gone = {*inline, *(words[1] for words in commands(page) if words[0] == "make")} - targets
    assert not gone, f"{named(page)} names targets that the Makefile does not have: {sorted(gone)}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        if words[0] == "bookserve":
            assert words[1] in COMMANDS or words[1].isupper(), f"{named(page)}: there is no 'bookserve {words[1]}'"
            unknown = [word for word in words[2:] if word.startswith("-") and not takes(words, word.partition("=")[0])]
            assert not unknown, f"{named(page)}: {' '.join(words)} has no option {unknown}"


def takes(words: list[str], option: str) -> bool:
    """Whether the command (or subcommand) of a command line has the option."""
    group: click.Command = cli
    for word in words[1:3]:
        context = click.Context(group)
        if isinstance(group, click.Group) and (found := group.get_command(context, word)):
            group = found
    return any(option in parameter.opts + parameter.secondary_opts for parameter in group.params)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_examples_in_python_import_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES:
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    assert defined(name), f"{named(page)}: there is no {name}"

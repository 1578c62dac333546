"""Options that several commands share, and printing tables and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bookserve.cli.encoding import is_utf8

#: What a table shows where there is no value.
_NONE = "–"

models_option = click.option(
    "--models",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Directory with the bundles.",
)
runs_option = click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Directory with the training runs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def device_option(default: str | None, help: str) -> Callable[[Any], Any]:
    """The option ``--device``; ``bookserve.runtime.parse_device`` reads its value."""
    words = f"auto, cpu, cuda or cuda:N. {help}"
    return click.option("--device", default=default, show_default=bool(default), metavar="DEVICE", help=words)


def model_and_version(text: str) -> tuple[str, int | None]:
    """Split ``MODEL`` or ``MODEL/VERSION`` into the name and the version (None if absent); a click parameter type."""
    name, slash, version = text.rstrip("/").partition("/")
    if slash and not (version.isascii() and version.isdecimal()):
        raise click.BadParameter(f"'{text}' is not of the form MODEL or MODEL/VERSION.")
    return name, int(version) if slash else None


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=not is_utf8(sys.stdout)))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", optional: Sequence[str] = ()
) -> None:
    """Print a table. Columns that hold only numbers are right-aligned; None is shown as a dash.

    A terminal that is too narrow does not show the columns ``optional``, the last first; the others keep names whole
    in the first column, so that they can be copied.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width; do not wrap lines for scripts and logs
    cells = [[_cell(value) if not isinstance(value, int | float) else value for value in row] for row in rows]
    kept = _fitting([[*columns], *cells], optional, console.width)
    columns, cells = [columns[index] for index in kept], [[row[index] for index in kept] for row in cells]
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(isinstance(row[index], int | float) or row[index] == _NONE for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=not index)
    for row in cells:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)


def _fitting(rows: Sequence[Sequence[Any]], optional: Sequence[str], width: int) -> list[int]:
    """The columns to show, of which the first row has the names: all, or as many as fit."""
    kept = list(range(len(rows[0])))

    def needed() -> int:
        return sum(max(len(_cell(row[index])) for row in rows) + 3 for index in kept) - 3

    for name in reversed(optional):
        if needed() > width and name in rows[0]:
            kept.remove(list(rows[0]).index(name))
    return kept


def next_command(*lines: str) -> None:
    """Say on a terminal what to type next; a pipe receives only the result."""
    if sys.stdout.isatty():
        label = "next:"
        for line in lines:
            click.echo(f"{click.style(label, fg='cyan')}  {line}", err=True)
            label = "     "


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error in this block, such as TensorFlow's messages at import."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _cell(value: Any) -> str:
    if value is None:
        return _NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)

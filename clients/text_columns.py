"""Several texts that grow side by side in a terminal, or stand one after the other in a pipe."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

#: Columns narrower than this are not read any more.
_NARROWEST = 20


class _Show(Protocol):
    def __call__(self, texts: Sequence[str]) -> None: ...


def show_side_by_side(titles: Sequence[str], texts: Sequence[Generator[str]]) -> list[str]:
    """Show the texts, a column with its title for each, and return them whole.

    A piece of each is taken in turn, so that all grow at the pace of the slowest. A pipe, and a terminal that is too
    narrow, gets one text after the other when all are complete.
    """
    whole = [""] * len(texts)
    alive = dict(enumerate(texts))
    with _columns(titles) as show:
        while alive:
            for index, text in list(alive.items()):
                piece = next(text, None)
                if piece is None:
                    del alive[index]
                else:
                    whole[index] += piece
            if show:
                show(whole)
    if not show:
        for title, complete in zip(titles, whole, strict=True):
            click.echo(f"--- {title}\n{complete}")
    return whole


@contextmanager
def _columns(titles: Sequence[str]) -> Iterator[_Show | None]:
    """A function that shows the texts as they are; None where that is not possible."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal or console.width // len(titles) < _NARROWEST:
        yield None
        return
    from rich.live import Live

    with Live(console=console, refresh_per_second=10) as live:
        yield lambda texts: live.update(_table(titles, texts))


def _table(titles: Sequence[str], texts: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    for title in titles:
        table.add_column(title, ratio=1, overflow="fold")
    table.add_row(*map(Text, texts))
    return table

"""Print notes on answers to standard error: what a reader of the answers should know."""

from __future__ import annotations

import click

from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.parts import Part
from bookserve.verb import Note

#: Notes on single rows that are printed at most.
_SHOWN = 10


class Notes:
    """The notes on the answers to all parts."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Note]] = []
        self._more = 0

    def add(self, part: Part, answers: Answers | AnswerTable) -> None:
        """Keep the notes on the answers to a part, the first ones of all."""
        for note in answers.notes:
            kept = ("" if note.row is None else f"{part.name(note.row)}: ", note)
            if note.row is None and kept in self._kept:
                continue
            if len(self._kept) < _SHOWN:
                self._kept.append(kept)
            else:
                self._more += 1

    def show(self, count: int) -> None:
        """Print them; ``count`` is the number of all rows."""
        for place, note in self._kept:
            click.echo(f"{click.style('note:', fg='yellow')}  {place if count > 1 else ''}{note.message}", err=True)
        if self._more:
            click.echo(f"note: {self._more} more notes of this kind.", err=True)

"""Predict parts of rows one after the other, several at the same time, with errors that name file and line."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.concurrency import in_order
from bookserve.client.parts import OnError, Part
from bookserve.errors import InvalidInput

_ROW = re.compile(r"row (\d+)\b")
Predicted = tuple[Part, Answers | AnswerTable]


class Predictor(Protocol):
    """What predicts parts: a ``Client``, or a ``Spread`` over the nodes of a cluster."""

    @property
    def parallel(self) -> int:
        """How many parts may be predicted at the same time, in threads."""

    def predict_part(self, model: str, rows: Sequence[Any], version: int | None = None) -> Answers | AnswerTable:
        """See ``Client.predict_part``."""


def predict_parts(
    client: Predictor, model: str, parts: Iterator[Part], version: int | None, skip: OnError | None = None
) -> Generator[Predicted]:
    """The parts with their answers, in order. With ``skip`` rows that the model refuses are left out, and it is called.

    Raises:
        InvalidInput: a row cannot be used; the message names it. Other errors are those of ``Client.predict``.
    """

    def predict(numbered: tuple[int, Part]) -> tuple[list[Predicted], list[tuple[str, InvalidInput]]]:
        start, part = numbered
        refused: list[tuple[str, InvalidInput]] = []
        if skip is None:
            return [(part, _named(client, model, part, version, start))], refused
        return list(_usable(client, model, part, version, refused)), refused

    for found, refused in in_order(predict, _numbered(parts), client.parallel):
        for place, error in refused:
            if skip:
                skip(place, error)
        yield from found


def _numbered(parts: Iterator[Part]) -> Iterator[tuple[int, Part]]:
    """The parts with the number of their first row."""
    start = 0
    for part in parts:
        yield start, part
        start += len(part.rows)


def _named(client: Predictor, model: str, part: Part, version: int | None, start: int) -> Answers | AnswerTable:
    """The answers to a part; an error has the number of the row among all, and its place."""
    try:
        return client.predict_part(model, part.rows, version)
    except InvalidInput as error:
        match = _ROW.match(error.message)
        if match and int(match[1]) < len(part.rows):
            row, rest = int(match[1]), error.message[match.end() :]
            raise InvalidInput(f"row {start + row} ({part.place(row)}){rest}", error.hint) from error
        if len(part.rows) == 1 and start:
            raise InvalidInput(f"row {start} ({part.place(0)}): {error.message}", error.hint) from error
        if part.segments[0].lines is not None:  # one line of a table, or what is wrong with all of them
            place = part.place(0) if len(part.rows) == 1 else part.segments[0].file
            raise InvalidInput(f"{place}: {error.message}", error.hint) from error
        raise


def _usable(
    client: Predictor, model: str, part: Part, version: int | None, refused: list[tuple[str, InvalidInput]]
) -> Iterator[Predicted]:
    """The rows that can be used, with their answers; a part with others is divided until they stand alone."""
    try:
        yield part, client.predict_part(model, part.rows, version)
    except InvalidInput as error:
        if len(part.rows) == 1:
            refused.append((part.place(0), error))
            return
        middle = len(part.rows) // 2
        for half in (part.cut(0, middle), part.cut(middle, len(part.rows))):
            yield from _usable(client, model, half, version, refused)

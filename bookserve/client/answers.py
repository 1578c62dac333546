"""The answers to many rows: a list of ``bookserve.verb.Answer`` that also gives arrays, columns and tables."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput, NotFound
from bookserve.verb import Answer, Note, plain_answers


class Answers(list[Answer]):
    """One answer for each row, in order: for each output name, labels with scores or an array."""

    def __init__(
        self, answers: Iterable[Answer] = (), notes: Iterable[Note] = (), units: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(answers)
        #: What a reader should know, such as words that the model does not know.
        self.notes = list(notes)
        #: The units of the outputs that have one.
        self.units = dict(units or {})

    def add_remarks(self, part: Answers) -> None:
        """Take over the notes and units of the answers to some of the rows."""
        self.units.update(part.units)
        self.notes += [note for note in part.notes if note not in self.notes]

    def arrays(self) -> dict[str, np.ndarray]:
        """Each output of all rows as one array [rows, …].

        Labels become two arrays [rows, labels], likeliest first: ``<output>`` has the names, ``<output>_scores``
        float64 the scores.

        Raises:
            InvalidInput: the rows' answers differ in shape.
        """
        arrays: dict[str, np.ndarray] = {}
        try:
            for name, first in (self[0] if self else {}).items():
                values: list[Any] = [answer[name] for answer in self]
                if isinstance(first, list):
                    arrays[name] = np.array([[item.label for item in value] for value in values])
                    arrays[f"{name}_scores"] = np.array([[item.score for item in value] for value in values])
                elif first.dtype == object:
                    arrays[name] = np.array([item[name] for item in plain_answers(self)])
                else:
                    arrays[name] = np.stack([np.asarray(value) for value in values])
        except ValueError as error:
            raise InvalidInput(
                "the answers differ in shape and cannot form one array.", "Write them as JSON."
            ) from error
        return arrays

    def probabilities(self, output: str = "") -> tuple[list[str], np.ndarray]:
        """The classes of an output with labels, and the scores of all rows, float64 [rows, classes].

        Without a name it is the only such output. Classes are sorted: as numbers if they all are, else as texts. A
        score is NaN where a row's answer does not name the class: many models answer with the three likeliest.

        Raises:
            InvalidInput: there is no such output, or none or several to choose from.
        """
        known = [name for name, value in (self[0] if self else {}).items() if isinstance(value, list)]
        if output not in known and (output or len(known) != 1):
            raise InvalidInput(
                f"there is no single output '{output}' with labels.".replace(" ''", ""),
                f"Outputs with labels: {', '.join(known) or 'none'}.",
            )
        labels: list[Any] = [answer[output or known[0]] for answer in self]
        scores = [{item.label: item.score for item in row} for row in labels]
        names = sorted({name for row in scores for name in row})
        classes = sorted(names, key=int) if all(name.isdecimal() for name in names) else names
        return classes, np.array([[row.get(name, np.nan) for name in classes] for row in scores], np.float64)

    def columns(self) -> dict[str, list[Any]]:
        """The answers as a table by columns, ready for a data frame: ``pandas.DataFrame(answers.columns())``.

        An output with labels has its likeliest label in ``<output>`` and the score in ``<output>_score``; a number
        stands in ``<output>``; an array is spread over ``<output>_0``, ``<output>_1``, … None is where a row has less.
        """
        lines = [flat_answer(answer) for answer in self]
        names = dict.fromkeys(name for line in lines for name in line)
        return {name: [line.get(name) for line in lines] for name in names}

    def to_pandas(self) -> Any:
        """``columns`` as a data frame of pandas, which must be installed."""
        return _installed("pandas").DataFrame(self.columns())

    def to_polars(self) -> Any:
        """``columns`` as a data frame of polars, which must be installed."""
        return _installed("polars").DataFrame(self.columns())

    def to_arrow(self) -> Any:
        """``columns`` as a table of Arrow; pyarrow must be installed."""
        return _installed("pyarrow").table(self.columns())


def flat_answer(answer: Answer) -> dict[str, Any]:
    """The answer to one row as one line of a table, as ``Answers.columns`` describes it."""
    cells: dict[str, Any] = {}
    for (name, value), plain in zip(answer.items(), plain_answers([answer])[0].values(), strict=True):
        if isinstance(value, list):
            cells |= {name: value[0].label, f"{name}_score": value[0].score}
        elif value.size == 1:
            cells[name] = np.ravel(plain).tolist()[0]
        else:
            cells |= {f"{name}_{index}": item for index, item in enumerate(np.ravel(plain).tolist())}
    return cells


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise NotFound(f"the package '{name}' is not installed.", f"Install it: pip install {name}") from error

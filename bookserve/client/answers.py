"""The answers to many rows: a list of ``bookserve.verb.Answer`` that also gives arrays, columns and tables."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, overload

import msgspec
import numpy as np

from bookserve.errors import InvalidInput, NotFound
from bookserve.steps import Label
from bookserve.steps.labels import LabelTable
from bookserve.verb import Answer, AnswerColumns, Note, plain_answers, short_floats


class Answers(list[Answer]):
    """One answer for each row, in order: for each output name, labels with scores or an array.

    The examples are run with ``client = connect("local:pretrained")``.

    >>> films = client.predict("imdb_lstm", ["a wonderful film", "a terrible, boring film"])
    >>> films[1]["probability"][0].label
    'negative'
    >>> client.predict("boston_housing", [[1] * 13]).units
    {'price': 'thousand dollars'}
    """

    def __init__(
        self, answers: Iterable[Answer] = (), notes: Iterable[Note] = (), units: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(answers)
        #: What a reader should know, such as words that the model does not know.
        self.notes = list(notes)
        #: The units of the outputs that have one.
        self.units = dict(units or {})

    def add_remarks(self, part: Answers) -> None:
        """Take over the notes and units of the answers to some of the rows.

        >>> answers = Answers()
        >>> answers.add_remarks(client.predict("imdb_lstm", ["a wonderful zorgle"]))
        >>> answers.notes[0].words
        ('zorgle',)
        """
        self.units.update(part.units)
        self.notes += [note for note in part.notes if note not in self.notes]

    def arrays(self) -> dict[str, np.ndarray]:
        """Each output of all rows as one array [rows, …].

        Labels become two arrays [rows, labels], likeliest first: ``<output>`` has the names, ``<output>_scores``
        float64 the scores.

        Raises:
            InvalidInput: the rows' answers differ in shape.

        >>> client.predict("boston_housing", [[1] * 13, [2] * 13]).arrays()["price"].shape
        (2, 1)
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

        >>> classes, scores = client.predict("imdb_lstm", ["a wonderful film"]).probabilities()
        >>> classes, scores.round(2).tolist()
        (['negative', 'positive'], [[0.11, 0.89]])
        """
        output = _labelled(self[0] if self else {}, output)
        labels: list[Any] = [answer[output] for answer in self]
        scores = [{item.label: item.score for item in row} for row in labels]
        names = sorted({name for row in scores for name in row})
        classes = _in_order(names)
        return classes, np.array([[row.get(name, np.nan) for name in classes] for row in scores], np.float64)

    def columns(self) -> dict[str, list[Any]]:
        """The answers as a table by columns, ready for a data frame: ``pandas.DataFrame(answers.columns())``.

        An output with labels has its likeliest label in ``<output>`` and the score in ``<output>_score``; a number
        stands in ``<output>``; an array is spread over ``<output>_0``, ``<output>_1``, … None is where a row has less.

        >>> client.predict("imdb_lstm", ["a wonderful film", "a boring film"]).columns()["probability"]
        ['positive', 'negative']
        """
        lines = [flat_answer(answer) for answer in self]
        names = dict.fromkeys(name for line in lines for name in line)
        return {name: [line.get(name) for line in lines] for name in names}

    def to_pandas(self) -> Any:
        """``columns`` as a data frame of pandas, which must be installed.

        >>> client.predict("imdb_lstm", ["a wonderful film"]).to_pandas()["probability"].tolist()  # needs pandas
        ['positive']
        """
        return _installed("pandas").DataFrame(self.columns())

    def to_polars(self) -> Any:
        """``columns`` as a data frame of polars, which must be installed.

        >>> client.predict("imdb_lstm", ["a wonderful film"]).to_polars()["probability"].to_list()  # needs polars
        ['positive']
        """
        return _installed("polars").DataFrame(self.columns())

    def to_arrow(self) -> Any:
        """``columns`` as a table of Arrow; pyarrow must be installed.

        >>> client.predict("imdb_lstm", ["a wonderful film"]).to_arrow().column_names  # needs pyarrow
        ['probability', 'probability_score']
        """
        return _installed("pyarrow").table(self.columns())


class AnswerTable(Sequence[Answer]):
    """The answers to many rows, kept by columns: like ``Answers``, without an object for each row.

    >>> from bookserve.table import UNNAMED, Table
    >>> answers = client.predict_part("boston_housing", Table({UNNAMED: np.ones((3, 13))}))
    >>> len(answers), list(answers.columns()), answers.arrays()["price"].shape, len(answers.plain())
    (3, ['price'], (3, 1), 3)
    """

    def __init__(
        self, outputs: AnswerColumns, notes: Iterable[Note] = (), units: Mapping[str, str] | None = None
    ) -> None:
        """``outputs`` has at least one, all of the same number of rows; ``notes`` and ``units`` as in ``Answers``."""
        self.outputs = outputs
        self.notes = list(notes)
        self.units = dict(units or {})

    @staticmethod
    def of(answers: Sequence[Answer]) -> AnswerTable:
        """The same answers by columns.

        >>> AnswerTable.of(client.predict("imdb_lstm", ["a wonderful film"])).probabilities()[0]
        ['negative', 'positive']

        Raises:
            InvalidInput: they differ in shape.
        """
        if isinstance(answers, AnswerTable):
            return answers
        outputs: AnswerColumns = {}
        try:
            for name, first in (answers[0] if answers else {}).items():
                values: list[Any] = [answer[name] for answer in answers]
                if isinstance(first, list):
                    labels = np.array([[item.label for item in value] for value in values], object)
                    scores = np.array([[item.score for item in value] for value in values], np.float64)
                    outputs[name] = LabelTable(labels.reshape(scores.shape), scores)
                else:
                    outputs[name] = np.stack([np.asarray(value) for value in values])
        except ValueError as error:
            raise InvalidInput(
                "the answers differ in shape and cannot form columns.", "Write them as JSON lines (.jsonl)."
            ) from error
        remarks = answers if isinstance(answers, Answers) else Answers()
        return AnswerTable(outputs, remarks.notes, remarks.units)

    @staticmethod
    def joined(parts: Sequence[AnswerTable]) -> AnswerTable:
        """Several tables of answers as one.

        >>> one = AnswerTable.of(client.predict("imdb_lstm", ["a wonderful film"]))
        >>> len(AnswerTable.joined([one, one]))
        2

        Raises:
            InvalidInput: they differ in shape.
        """
        outputs: AnswerColumns = {}
        try:
            for name, first in parts[0].outputs.items():
                columns: list[Any] = [part.outputs[name] for part in parts]
                if isinstance(first, LabelTable):
                    outputs[name] = LabelTable(*map(np.concatenate, zip(*columns, strict=True)))
                else:
                    outputs[name] = np.concatenate(columns)
        except (ValueError, KeyError) as error:
            raise InvalidInput("the answers differ in shape and cannot form columns.", "Write them as JSON.") from error
        starts = accumulate((len(part) for part in parts), initial=0)
        notes = [note for part, start in zip(parts, starts, strict=False) for note in notes_from(part.notes, start)]
        return AnswerTable(outputs, dict.fromkeys(notes), parts[0].units)

    def __len__(self) -> int:
        first = next(iter(self.outputs.values()))
        return len(first.labels) if isinstance(first, LabelTable) else len(first)

    @overload
    def __getitem__(self, index: int) -> Answer: ...

    @overload
    def __getitem__(self, index: slice) -> AnswerTable: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return AnswerTable(
                {
                    name: LabelTable(value.labels[index], value.scores[index])
                    if isinstance(value, LabelTable)
                    else value[index]
                    for name, value in self.outputs.items()
                }
            )
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return {
            name: [
                Label(*pair) for pair in zip(value.labels[index].tolist(), value.scores[index].tolist(), strict=True)
            ]
            if isinstance(value, LabelTable)
            else value[index, ...]
            for name, value in self.outputs.items()
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Answers.arrays``."""
        arrays: dict[str, np.ndarray] = {}
        for name, value in self.outputs.items():
            if isinstance(value, LabelTable):
                arrays |= {name: value.labels.astype(str), f"{name}_scores": value.scores}
            else:
                arrays[name] = _texts(value) if value.dtype == object else value
        return arrays

    def probabilities(self, output: str = "") -> tuple[list[str], np.ndarray]:
        """See ``Answers.probabilities``."""
        table: Any = self.outputs[_labelled(self.outputs, output)]
        names, places = np.unique(table.labels.astype(str), return_inverse=True)
        scores = np.full((len(table.labels), len(names)), np.nan)
        np.put_along_axis(scores, places.reshape(table.labels.shape), table.scores, axis=1)
        classes = _in_order(names.tolist())
        return classes, scores[:, [names.tolist().index(name) for name in classes]]

    def plain(self) -> list[dict[str, Any]]:
        """The answers as ``bookserve.verb.plain_answers`` has them, ready for JSON."""
        columns: list[Any] = []
        for value in self.outputs.values():
            if isinstance(value, LabelTable):
                scores = short_floats(value.scores.astype(np.float32))
                columns.append(
                    [
                        [{"label": label, "score": score} for label, score in zip(*row, strict=True)]
                        for row in zip(value.labels.tolist(), scores, strict=True)
                    ]
                )
            else:
                columns.append(_texts(value).tolist() if value.dtype == object else short_floats(value))
        return [dict(zip(self.outputs, row, strict=True)) for row in zip(*columns, strict=True)]

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of ``Answers.columns`` as arrays."""
        columns: dict[str, np.ndarray] = {}
        for name, value in self.outputs.items():
            if isinstance(value, LabelTable):
                columns |= {name: value.labels[:, 0], f"{name}_score": value.scores[:, 0]}
                continue
            flat = value.reshape(len(value), -1)
            flat = _texts(flat).astype(object) if flat.dtype == object else flat
            single = flat.shape[1] == 1
            columns |= {name if single else f"{name}_{place}": flat[:, place] for place in range(flat.shape[1])}
        return columns


def notes_from(notes: Iterable[Note], start: int) -> list[Note]:
    """Notes whose rows are counted from the number ``start``."""
    return [note if note.row is None else msgspec.structs.replace(note, row=note.row + start) for note in notes]


def _labelled(outputs: Mapping[str, Any], output: str) -> str:
    """The output with labels of that name, or the only one.

    Raises:
        InvalidInput: there is none.
    """
    known = [name for name, value in outputs.items() if isinstance(value, list | LabelTable)]
    if output not in known and (output or len(known) != 1):
        raise InvalidInput(
            f"there is no single output '{output}' with labels.".replace(" ''", ""),
            f"Outputs with labels: {', '.join(known) or 'none'}.",
        )
    return output or known[0]


def _in_order(names: list[str]) -> list[str]:
    """Classes as numbers if they all are, else as they are."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _texts(values: np.ndarray) -> np.ndarray:
    """An array of ``bytes`` as one of texts."""
    return np.asarray(np.vectorize(lambda item: item.decode(errors="replace"), otypes=[object])(values)).astype(str)


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

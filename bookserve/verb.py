"""Define the verbs: what can be done with a model (predict, generate, sample, transform), with the Steps it needs.

A verb is data. It turns rows into graph inputs and graph outputs into answers, but it runs no graph. So the server,
which awaits a batched engine, and the local client, which calls a session, use the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.steps import Characters, Label, Numbers, Rows, Step, Unit, Words, apply_steps
from bookserve.steps.base import StepBase, decode_text
from bookserve.steps.labels import LabelStep, LabelTable
from bookserve.table import ROW_NAMES, UNNAMED, Table

#: The answer to one row: for each output name, labels with scores or an array.
Answer = dict[str, list[Label] | np.ndarray]
#: The answers to many rows: for each output name, the labels of all rows or an array whose first axis counts them.
AnswerColumns = dict[str, LabelTable | np.ndarray]


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader should know about an answer; it stands beside the answers."""

    #: ``unknown_words``: ``words`` of a text are not in the model's vocabulary. ``no_known_words``: none of its words
    #: is, so that the answer is a guess. ``sample``: the model was trained on sample data.
    kind: str
    message: str
    #: The row that it is about, and the input; None: all rows.
    row: int | None = None
    input: str = ""
    words: tuple[str, ...] = ()


class Predict(msgspec.Struct, frozen=True, tag_field="verb", tag="predict", forbid_unknown_fields=True):
    """One answer for each row. The keys are the names of the graph's inputs and outputs."""

    inputs: dict[str, tuple[Step, ...]]
    outputs: dict[str, tuple[Step, ...]]
    graph: str = "serving_default"

    @property
    def inline_bytes(self) -> int:
        """Above this number of bytes in the rows, a server calls ``encode`` in a thread."""
        return min(
            (step.inline_bytes for steps in self.inputs.values() for step in steps), default=StepBase.inline_bytes
        )

    @property
    def output_units(self) -> dict[str, str]:
        """The units of the outputs that have one."""
        return {name: step.unit for name, steps in self.outputs.items() for step in steps if isinstance(step, Unit)}

    @property
    def reads_words(self) -> bool:
        """Whether an input is a text that is split into the words of a vocabulary."""
        return bool(self._word_readers)

    @property
    def _word_readers(self) -> dict[str, Words]:
        return {name: steps[0] for name, steps in self.inputs.items() if steps and isinstance(steps[0], Words)}

    def encode(self, rows: Rows) -> Arrays:
        """Turn raw rows into the graph's inputs.

        With one input a row is what its Steps take; with several it is a dictionary with one entry per input. A
        dictionary with a single entry stands for that entry: a table of one column.

        Raises:
            InvalidInput: there are no rows, or the Steps refuse a row; the message names the row.
        """
        if not len(rows):
            raise InvalidInput("there are no rows to predict.", "Send at least one.")
        try:
            return {
                name: np.asarray(apply_steps(steps, self._column(name, rows))) for name, steps in self.inputs.items()
            }
        except InvalidInput as error:
            if len(rows) == 1:
                raise
            raise self._first_bad_row(rows) or error from error

    def decode(self, outputs: Arrays) -> list[Answer]:
        """Turn the graph's outputs into an answer for each row. An output that is not by row belongs to every row."""
        columns: dict[str, Any] = {name: apply_steps(steps, outputs[name]) for name, steps in self.outputs.items()}
        count = max((_row_count(column) for column in columns.values()), default=0) or 1
        return [
            {name: _item(column, index) if _row_count(column) == count else column for name, column in columns.items()}
            for index in range(count)
        ]

    def decode_columns(self, outputs: Arrays) -> AnswerColumns:
        """The same as ``decode``, for all rows together; an output that is not by row is repeated for each."""
        columns: dict[str, Any] = {}
        for name, steps in self.outputs.items():
            if steps and isinstance(steps[-1], LabelStep):
                columns[name] = steps[-1].table(np.asarray(apply_steps(steps[:-1], outputs[name])))
            else:
                columns[name] = np.asarray(apply_steps(steps, outputs[name]))
        count = max((_row_count(column) for column in columns.values()), default=0) or 1
        return {
            name: column if _row_count(column) == count else np.broadcast_to(column, (count, *column.shape))
            for name, column in columns.items()
        }

    def unknown_words(self, rows: Rows) -> list[Note]:
        """A note for each text that has words which are not in the model's vocabulary.

        Raises:
            InvalidInput: no row has a word that the model knows, so that every answer would be a guess. Beside other
                rows, such a row gets a note of the kind ``no_known_words``.
        """
        readers = self._word_readers
        if not readers or isinstance(rows, np.ndarray):
            return []
        notes: list[Note] = []
        guesses = 0
        columns = {name: self._column(name, rows) for name in readers}
        for index in range(len(rows)):
            texts = {name: columns[name][index] for name in readers}
            if not all(isinstance(text, str | bytes) for text in texts.values()):
                continue
            found = {name: readers[name].known_and_unknown(text) for name, text in texts.items()}
            if any(known for known, _ in found.values()):
                notes += [_unknown_words(index, name, unknown) for name, (_, unknown) in found.items() if unknown]
            else:
                guesses += 1
                words = tuple(word for _, unknown in found.values() for word in unknown)
                notes.append(Note("no_known_words", _GUESS.format(_shorten(texts)), index, next(iter(found)), words))
        if guesses == len(rows):
            size = max(len(reader.vocabulary) for reader in readers.values())
            raise InvalidInput(notes[0].message, f"It knows {size:,} words; an answer would be a guess.")
        return notes

    def _column(self, name: str, rows: Rows) -> Rows:
        if isinstance(rows, np.ndarray):
            return rows
        if isinstance(rows, Table):
            return self._table_column(name, rows)
        if len(self.inputs) == 1:
            return [_only_value(name, row, self.inputs[name]) if isinstance(row, dict) else row for row in rows]
        for index, row in enumerate(rows):
            if not isinstance(row, dict) or row.keys() - set(ROW_NAMES) != self.inputs.keys():
                names = ", ".join(f"'{name}'" for name in self.inputs)
                raise InvalidInput(
                    f"row {index} does not name the model's inputs; expected an object with the keys {names}.",
                    _difference(row, self.inputs) if isinstance(row, dict) else "",
                )
        return [row[name] for row in rows]

    def _table_column(self, name: str, table: Table) -> Rows:
        if len(self.inputs) == 1 and not table.named:
            return table.columns[UNNAMED]
        if len(self.inputs) > 1:
            self._column(name, [table[0]] if table.named else table[:1])  # refuses other names
            return table.columns[name]
        steps = self.inputs[name]
        if len(table.columns.keys() - set(ROW_NAMES)) > 1 and steps and isinstance(steps[0], Numbers):
            return steps[0].join_table(table)
        return table.columns[_only_column(name, {c: a.dtype == object for c, a in table.columns.items()}, steps)]

    def _first_bad_row(self, rows: Rows) -> InvalidInput | None:
        for index, row in enumerate(rows):
            try:
                self.encode([row])
            except InvalidInput as error:
                return InvalidInput(f"row {index}: {error.message}", error.hint)
        return None


class MultiStepDecoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second ONNX file of a step graph, which generates ``steps`` characters in one run.

    Inputs: ``characters`` int32 [batch, 1], the states, and ``noise`` float64 [batch, steps, vocabulary]. The next
    character is the one with the largest ``probabilities * noise``. Outputs: ``drawn`` int32 [batch, steps] and the
    next states. It is not a signature of the SavedModel; the exporter writes it from the nodes of the step graph.

    With ``likeliest`` there are two more inputs, ``top_k`` int64 and ``top_p`` float64, both [batch, 1]. Texts without
    these limits pass the size of the vocabulary and a number of 1 or more.
    """

    onnx: str
    steps: int
    likeliest: bool = False

    def graph(self, step: Graph, vocabulary: int) -> Graph:
        """Its inputs and outputs, given the step graph and the size of the vocabulary."""
        states = {name: spec for name, spec in step.inputs.items() if name != "characters"}
        noise = {"noise": TensorSpec("float64", ("batch", self.steps, vocabulary))}
        if self.likeliest:
            noise |= {"top_k": TensorSpec("int64", ("batch", 1)), "top_p": TensorSpec("float64", ("batch", 1))}
        return Graph(
            inputs={"characters": TensorSpec("int32", ("batch", 1)), **states, **noise},
            outputs={
                "drawn": TensorSpec("int32", ("batch", self.steps)),
                **{f"next_{name}": spec for name, spec in states.items()},
            },
            onnx=self.onnx,
        )


class Drawn(msgspec.Struct, frozen=True):
    """One generated character and the natural logarithm of its probability; ``top`` has the same of the likeliest."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a generated text: what was added to text ``index`` of a request."""

    text: str
    index: int = 0
    #: Why the text ended: ``length`` or ``stop``; '' while it continues.
    finish: str = ""
    #: One entry for each character of ``text`` if the request has ``logprobs``; else empty.
    drawn: tuple[Drawn, ...] = ()


class Generate(msgspec.Struct, frozen=True, tag_field="verb", tag="generate", forbid_unknown_fields=True):
    """Generate text one character at a time, with a graph that takes and returns its state.

    Inputs of the graph: ``characters`` int32 [batch, time] and any number of states. Outputs: ``probabilities``
    [batch, vocabulary] of the next character, and ``next_<state>`` for each state.
    """

    characters: Characters
    #: How many characters of a prompt the model reads at most: the length it was trained on.
    window: int
    #: The prompt if the user gives none.
    prompt: str
    graph: str = "step"
    #: Written by the exporter; without it each character needs its own run.
    ahead: MultiStepDecoder | None = None


class Sample(msgspec.Struct, frozen=True, tag_field="verb", tag="sample", forbid_unknown_fields=True):
    """Pictures from points of a latent space, and points from pictures if the model has an encoder."""

    #: Number of dimensions of the latent space.
    latent: int
    #: Steps from the decoder's output to pixels.
    after: tuple[Step, ...]
    #: Steps from pictures to the encoder's input; empty if there is no encoder.
    before: tuple[Step, ...] = ()
    decode: str = "decode"
    encode: str | None = None


class Dream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="dream"):
    """Gradient ascent at several sizes (section 8.2). The graph takes ``image`` and ``contributions``."""

    #: Weight of each layer's activation, in the order of the graph's input.
    contributions: dict[str, float]
    #: Size of a gradient step, for pixel values from -1 to 1.
    step: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    octaves: Annotated[int, msgspec.Meta(ge=0, le=12)] = 3
    octave_scale: Annotated[float, msgspec.Meta(gt=1, le=4)] = 1.4
    iterations: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    #: At each size the ascent stops when the loss exceeds this.
    max_loss: float = 10.0
    #: Maximum height in pixels; higher pictures are shrunk.
    height: Annotated[int, msgspec.Meta(ge=75, le=1024)] = 350
    #: Half the range of the network's input values: 1 for -1 to 1, 127.5 for 0 to 255.
    unit: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Style(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="style"):
    """Style transfer by L-BFGS on pixels (section 8.3).

    Inputs of the graph: ``image``, the features ``content`` and ``style`` of the two pictures
    (``Transform.features``), and ``weights``.
    """

    content_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.025
    style_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    total_variation_weight: Annotated[float, msgspec.Meta(ge=0)] = 1e-4
    iterations: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20
    #: Maximum number of runs of the graph in each iteration.
    evaluations: Annotated[int, msgspec.Meta(ge=1, le=200)] = 15
    #: Height of the result in pixels; the width keeps the photo's proportions.
    height: Annotated[int, msgspec.Meta(ge=75, le=1024)] = 400


class Transform(msgspec.Struct, frozen=True, tag_field="verb", tag="transform", forbid_unknown_fields=True):
    """A picture changed along the gradient of a network; ``bookserve/generation/transform.py`` has the loops.

    Outputs of the graph: ``loss`` float32 [batch], and ``gradient`` with the shape of ``image``.
    """

    method: Dream | Style
    #: Steps from pixels uint8 [1, height, width, 3] to the network's input, and back.
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    graph: str = "gradient"
    #: Name of the graph that computes the features ``content`` and ``style`` of a picture ``image``. It is run once for
    #: each of the two pictures. Empty for DeepDream, and if the graph above takes the pictures themselves.
    features: str = ""


Verb = Predict | Generate | Sample | Transform


def verb_name(verb: Verb) -> str:
    """``predict``, ``generate``, ``sample`` or ``transform``."""
    return str(verb.__struct_config__.tag)


def plain_answers(answers: Sequence[Answer]) -> list[Any]:
    """Answers as lists, numbers, strings and dictionaries, ready for JSON."""
    return [{name: _simple(value) for name, value in answer.items()} for answer in answers]


#: What is said of a text without a known word.
_GUESS = "the model knows none of the words of the text '{}'."


def _unknown_words(row: int, name: str, unknown: tuple[str, ...]) -> Note:
    shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
    noun = "word" if len(unknown) == 1 else "words"
    message = f"The model does not know {len(unknown)} {noun}: {shown}."
    return Note("unknown_words", message, row, name, unknown)


def _shorten(texts: Mapping[str, Any]) -> str:
    text = " ".join(decode_text(text) for text in texts.values())
    return text if len(text) <= 40 else f"{text[:40]}…"


def _difference(row: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """What a row lacks of the model's inputs, and what it has beside them."""
    lacking = ", ".join(f"'{name}'" for name in inputs if name not in row)
    more = ", ".join(f"'{name}'" for name in row if name not in inputs and name not in ROW_NAMES)
    return " ".join(part for part in (lacking and f"It lacks {lacking}.", more and f"It has {more}, too.") if part)


def _only_value(name: str, row: dict[str, Any], steps: tuple[Step, ...]) -> Any:
    """The row of a model with one input, given as a line of a table; Numbers take lines of many columns."""
    columns = row.keys() - set(ROW_NAMES)
    if len(columns) > 1 and steps and isinstance(steps[0], Numbers):
        return row
    texts = {column: isinstance(value, str) for column, value in row.items()}
    return row[_only_column(name, texts, steps)] if columns else row


def _only_column(name: str, texts: Mapping[str, bool], steps: tuple[Step, ...]) -> str:
    """The column for a model with one input: the only one, that of its name, or for a model of words that of texts.

    ``texts`` says of each column whether it holds texts.

    Raises:
        InvalidInput: there are several to choose from.
    """
    columns = [column for column in texts if column not in ROW_NAMES] or list(texts)
    if len(columns) == 1 or name in columns:
        return name if name in columns else columns[0]
    readable = [column for column in columns if texts[column]] if steps and isinstance(steps[0], Words) else []
    if len(readable) == 1:
        return readable[0]
    raise InvalidInput(
        f"a row has the columns {', '.join(texts)}; the model takes one value, '{name}'.",
        f"Send that column alone, or call it '{name}'.",
    )


def _row_count(column: Any) -> int:
    """How many rows a column has; 0 for a single number."""
    if isinstance(column, LabelTable):
        return len(column.labels)
    return len(column) if not isinstance(column, np.ndarray) or column.ndim else 0


def _item(column: Rows, index: int) -> Any:
    """One row of a column. A row of an array is always an array, even for a single number."""
    return column[index, ...] if isinstance(column, np.ndarray) else column[index]


def short_floats(array: np.ndarray) -> Any:
    """An array of numbers as nested lists; a float32 becomes the float with the fewest digits that restores it."""
    if array.dtype not in (np.float32, np.float16):
        return array.tolist()
    return array.astype("U32").astype(np.float64).tolist()


def short_float(value: float) -> float:
    """A number that was computed as float32, as the float with the fewest digits that restores it."""
    return float(str(np.float32(value)))


def _simple(value: list[Label] | np.ndarray) -> Any:
    if isinstance(value, list):
        return [{"label": item.label, "score": short_float(item.score)} for item in value]
    if value.dtype == object:
        return np.vectorize(lambda item: item.decode(errors="replace"), otypes=[object])(value).tolist()
    return short_floats(value)

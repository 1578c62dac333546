"""Verb: what a person does with a model – predict, generate, sample, transform – and the Steps around its graphs.

A verb is data. It turns rows into feeds and outputs into answers but runs nothing itself, so the server (awaiting a
batched engine) and the local client (calling a session) go through the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.steps import Characters, Label, Rows, Step, apply_steps

#: What a person gets for one row: by output name, labels with scores or an array.
Answer = dict[str, list[Label] | np.ndarray]


class Predict(msgspec.Struct, frozen=True, tag_field="verb", tag="predict", forbid_unknown_fields=True):
    """Rows in, one answer for each row out. The keys are the names of the graph's inputs and outputs."""

    inputs: dict[str, tuple[Step, ...]]
    outputs: dict[str, tuple[Step, ...]]
    graph: str = "serving_default"

    def encode(self, rows: Rows) -> Arrays:
        """Turn raw rows into the graph's inputs.

        With one input a row is whatever its Steps take; with several it is an object that names each of them.

        Raises:
            InvalidInput: no rows, or a row that the Steps refuse; the message says which.
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
            raise self._blame(rows) or error from error

    def decode(self, outputs: Arrays) -> list[Answer]:
        """Turn the graph's outputs into an answer for each row."""
        columns = {name: apply_steps(steps, outputs[name]) for name, steps in self.outputs.items()}
        count = len(next(iter(columns.values())))
        return [{name: _item(column, index) for name, column in columns.items()} for index in range(count)]

    def _column(self, name: str, rows: Rows) -> Rows:
        if isinstance(rows, np.ndarray):
            return rows
        if len(self.inputs) == 1:
            return [row[name] if isinstance(row, dict) and row.keys() == {name} else row for row in rows]
        for index, row in enumerate(rows):
            if not isinstance(row, dict) or row.keys() != self.inputs.keys():
                names = ", ".join(f"'{name}'" for name in self.inputs)
                raise InvalidInput(f"row {index} does not name the model's inputs; expected an object with {names}.")
        return [row[name] for row in rows]

    def _blame(self, rows: Rows) -> InvalidInput | None:
        for index, row in enumerate(rows):
            try:
                self.encode([row])
            except InvalidInput as error:
                return InvalidInput(f"row {index}: {error.message}", error.hint)
        return None


class MultiStepDecoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second ONNX form of a step graph, which draws ``steps`` characters in one run.

    It takes ``characters`` int32 [batch, 1], the states, and ``noise`` float64 [batch, steps, vocabulary]: the next
    character is where ``probabilities * noise`` is greatest. It gives ``drawn`` int32 [batch, steps] and the next
    states. It is no signature of the SavedModel; the exporter wrote it from the step graph's own nodes.

    If it draws from the ``likeliest`` too, it takes ``top_k`` int64 and ``top_p`` float64, both [batch, 1]: the size of
    the vocabulary and 1 or more for texts that are not bound to them.
    """

    onnx: str
    steps: int
    likeliest: bool = False

    def graph(self, step: Graph, vocabulary: int) -> Graph:
        """Its tensors, given the graph whose steps it takes."""
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
    """One character, the natural logarithm of the probability that the model gave it, and the likeliest ones'."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was added to text ``index`` of a request."""

    text: str
    index: int = 0
    #: Why the text ended: ``length`` or ``stop``; '' while it goes on.
    finish: str = ""
    #: One for each character of ``text``, where log-probabilities were asked for.
    drawn: tuple[Drawn, ...] = ()


class Generate(msgspec.Struct, frozen=True, tag_field="verb", tag="generate", forbid_unknown_fields=True):
    """Text, one character at a time, by a graph that carries its state in and out.

    The graph takes ``characters`` int32 [batch, time] and any number of states, and gives ``probabilities`` [batch,
    vocabulary] for the next character and ``next_<state>`` for each state.
    """

    characters: Characters
    #: How many characters of a prompt the model reads: the length it was trained on.
    window: int
    #: The text to begin with where the user gives none.
    prompt: str
    graph: str = "step"
    #: Written by the exporter; without it every character costs a run.
    ahead: MultiStepDecoder | None = None


class Sample(msgspec.Struct, frozen=True, tag_field="verb", tag="sample", forbid_unknown_fields=True):
    """Pictures from points of a latent space, and points from pictures where the model has an encoder."""

    #: Number of dimensions of the latent space.
    latent: int
    #: From the decoder's output to pixels.
    after: tuple[Step, ...]
    #: From pictures to the encoder's input; empty where there is no encoder.
    before: tuple[Step, ...] = ()
    decode: str = "decode"
    encode: str | None = None


class Dream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="dream"):
    """Gradient ascent at several sizes (section 8.2). The graph takes ``image`` and ``contributions``."""

    #: How much each layer's activation counts, in the order that the graph takes them.
    contributions: dict[str, float]
    #: How far a step goes, where pictures lie between -1 and 1.
    step: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    octaves: Annotated[int, msgspec.Meta(ge=0, le=12)] = 3
    octave_scale: Annotated[float, msgspec.Meta(gt=1, le=4)] = 1.4
    iterations: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    #: Ascent at one size ends where the loss has become larger.
    max_loss: float = 10.0
    #: Pixels that a higher picture is shrunk to.
    height: Annotated[int, msgspec.Meta(ge=75, le=1024)] = 350
    #: Half the range of what this network sees: 1 where that is -1 to 1, 127.5 where it is in grey levels.
    unit: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Style(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="style"):
    """L-BFGS on pixels (section 8.3). The graph takes ``image``, ``content`` and ``style``, which are what the two
    pictures are seen to be (``Transform.features``), and ``weights``."""

    content_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.025
    style_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    total_variation_weight: Annotated[float, msgspec.Meta(ge=0)] = 1e-4
    iterations: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20
    #: How often the graph is run in each iteration.
    evaluations: Annotated[int, msgspec.Meta(ge=1, le=200)] = 15
    #: Pixels; the width follows from the photo.
    height: Annotated[int, msgspec.Meta(ge=75, le=1024)] = 400


class Transform(msgspec.Struct, frozen=True, tag_field="verb", tag="transform", forbid_unknown_fields=True):
    """A picture changed along the gradient of a network: ``bookserve/generation/transform.py`` has the loops.

    The graph gives ``loss`` float32 [batch] and ``gradient``, of the shape of ``image``.
    """

    method: Dream | Style
    #: From pixels uint8 [1, height, width, 3] to what the network sees, and back.
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    graph: str = "gradient"
    #: The graph that says of a picture, ``image``, what is compared: ``content`` and ``style``. It is run once for each
    #: of two pictures. Empty for dreams, and where the graph above takes the pictures themselves.
    features: str = ""


Verb = Predict | Generate | Sample | Transform


def verb_name(verb: Verb) -> str:
    """``predict``, ``generate``, ``sample`` or ``transform``."""
    return str(verb.__struct_config__.tag)


def plain_answers(answers: Sequence[Answer]) -> list[Any]:
    """Answers as plain lists, numbers and objects, ready for JSON."""
    return [{name: _simple(value) for name, value in answer.items()} for answer in answers]


def _item(column: Rows, index: int) -> Any:
    """One row of a column; of an array always an array, also where it is a single number."""
    return column[index, ...] if isinstance(column, np.ndarray) else column[index]


def _simple(value: list[Label] | np.ndarray) -> Any:
    if isinstance(value, list):
        return [{"label": item.label, "score": item.score} for item in value]
    if value.dtype == object:
        return np.vectorize(lambda item: item.decode(errors="replace"), otypes=[object])(value).tolist()
    return value.tolist()

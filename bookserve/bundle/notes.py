"""What a reader should know about the answers of a model, beside the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bookserve.bundle.bundle import Bundle
from bookserve.steps import Rows
from bookserve.verb import Note, Predict

SAMPLE = "This model was trained on sample data: its answers show how it works, and are no better than these data."

#: A text of this length is split into words in about a millisecond.
INLINE_CHARACTERS = 10_000


def model_notes(bundle: Bundle) -> list[Note]:
    """Notes on all answers of a model: whether it was trained on sample data."""
    origin = bundle.manifest.origin
    return [Note("sample", SAMPLE)] if origin and origin.data == "sample" else []


def answer_notes(bundle: Bundle, rows: Rows) -> list[Note]:
    """Notes on the answers to ``rows``: those of the model, and the words that it does not know.

    Raises:
        InvalidInput: the model knows no word of any row.
    """
    verb = bundle.manifest.verb
    return model_notes(bundle) + (verb.unknown_words(rows) if isinstance(verb, Predict) else [])


def takes_long(bundle: Bundle, rows: Sequence[Any]) -> bool:
    """Whether ``answer_notes`` reads so much text that a server calls it in a thread."""
    verb = bundle.manifest.verb
    if not (isinstance(verb, Predict) and verb.reads_words):
        return False
    return sum(len(row) if isinstance(row, str | bytes) else INLINE_CHARACTERS for row in rows) > INLINE_CHARACTERS


def output_units(bundle: Bundle) -> dict[str, str]:
    """The units of a model's outputs, where they have one."""
    verb = bundle.manifest.verb
    return verb.output_units if isinstance(verb, Predict) else {}

"""What stands beside answers: unknown words, sample data, units; and texts that a model cannot judge."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookserve import connect
from bookserve.bundle import open_bundle
from bookserve.bundle.notes import answer_notes
from bookserve.client.answers import Answers
from bookserve.errors import InvalidInput
from bookserve.run import Origin
from bookserve.steps import Hashed, Numbers, Pad, Unit, Words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Note, Predict

WORDS = Words(Vocabulary("words", ["<padding>", "<start>", "<unknown>", "<unused>", "good", "film"]))
READER = Predict(inputs={"tokens": (WORDS, Pad(4))}, outputs={})
TWO = Predict(inputs={"story": (WORDS,), "question": (WORDS,)}, outputs={})


def test_words_outside_the_vocabulary_are_named_once() -> None:
    (note,) = READER.unknown_words(["Good film", "a good, a GREAT film"])
    assert (note.kind, note.row, note.input, note.words) == ("unknown_words", 1, "tokens", ("a", "great"))
    assert "2 words: a, great" in note.message


@pytest.mark.parametrize("text", ["zorgle blah", "", "!!!", b"zorgle"])
def test_a_text_without_a_known_word_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput, match="knows none of the words"):
        READER.unknown_words([text])
    with pytest.raises(InvalidInput, match=r"^row 1: "):
        READER.unknown_words(["good", text])


def test_one_known_input_of_several_is_enough() -> None:
    (note,) = TWO.unknown_words([{"story": "good film", "question": "zorgle"}])
    assert (note.input, note.words) == ("question", ("zorgle",))


def test_ids_arrays_and_hashed_words_have_no_vocabulary_to_miss() -> None:
    assert READER.unknown_words([[4, 5, 99]]) == []
    assert READER.unknown_words(np.zeros((2, 4), np.int32)) == []
    assert Predict(inputs={"x": (Hashed(10),)}, outputs={}).unknown_words(["zorgle"]) == []


def test_units_do_not_change_numbers() -> None:
    verb = Predict(inputs={"x": (Numbers("float32", (1,)),)}, outputs={"price": (Unit("dollars"),)})
    assert verb.output_units == {"price": "dollars"}
    assert [float(answer["price"][0]) for answer in verb.decode({"price": np.array([[1.5]])})] == [1.5]


def test_models_of_sample_data_say_so(models: Path) -> None:
    bundle = open_bundle(models, "affine")
    origin = Origin(task="affine", section="", summary="", data="sample", dataset="", book={})
    bundle.manifest = msgspec.structs.replace(bundle.manifest, origin=origin)
    assert [note.kind for note in answer_notes(bundle, [[1, 2, 3]])] == ["sample"]


def test_every_wire_carries_notes(url: str) -> None:
    with connect(url) as client:
        answers = client.predict("reviews", ["a good film", "bad film", "what a film"])
        with pytest.raises(InvalidInput, match="knows none of the words"):
            client.predict("reviews", ["zorgle"])
    assert [(note.row, note.words) for note in answers.notes] == [(0, ("a",)), (2, ("what", "a"))]


def test_remarks_of_parts_are_joined() -> None:
    whole, note = Answers(), Note("sample", "…")
    for row in range(2):
        whole.add_remarks(Answers([], [note, Note("unknown_words", "…", row)], {"y": "m"}))
    assert whole.units == {"y": "m"}
    assert [one.row for one in whole.notes] == [None, 0, 1]

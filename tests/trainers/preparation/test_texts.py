"""A character model of any text: the file decides the vocabulary, the windows and the name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bookserve.errors import InvalidInput, NotFound
from bookserve.run import latest_run
from bookserve.verb import Generate
from trainers import catalogue, results
from trainers.cli.train import train
from trainers.datasets import nietzsche
from trainers.datasets.arrays import TrainingArrays
from trainers.task import Data

POEM = "Über allen Gipfeln\nist Ruh’, in allen Wipfeln\nspürest du kaum einen Hauch; die Vögelein schweigen.\n" * 20


def prepared(path: Path) -> Data:
    task = catalogue.find_task("nietzsche_lstm")
    return task.data("real", {**task.defaults("real"), "text": str(path)})


def test_vocabulary_and_windows_follow_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "goethe.txt"
    path.write_text("\ufeff" + POEM, "utf-8")
    data = prepared(path)
    text = POEM.lower()
    assert data.about == f"goethe.txt: {len(text):,} characters"
    assert isinstance(data.verb, Generate)
    assert data.verb.characters.vocabulary.entries == tuple(sorted(set(text)))
    assert data.verb.prompt in text
    assert isinstance(data.train, TrainingArrays)
    assert len(data.train) == (len(text) - 60 + 2) // 3
    letters = data.verb.characters.vocabulary.entries
    x, y = data.train.batch(np.array([7]))
    assert "".join(letters[index] for index in np.asarray(x)[0]) == text[21:81]
    assert letters[int(np.asarray(y)[0])] == text[81]


def test_a_text_without_spaces_has_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "chinese.txt"
    path.write_text("道可道非常道名可名非常名無名天地之始有名萬物之母" * 60, "utf-8")
    verb = prepared(path).verb
    assert isinstance(verb, Generate)
    assert len(verb.prompt) == 60


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; expected 1,000 or more"),
        (b"short", "has 5 characters"),
        ("größer".encode("latin-1") * 500, "not in UTF-8: byte 2"),
        (b"a" * 2000, "1 different characters"),
        (b"some\0thing" * 500, "zero bytes"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 6000))).encode(), "6,000 different characters"),
    ],
)
def test_a_file_that_is_no_text_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        nietzsche.read_text_file(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(NotFound, match="there is no file"):
            nietzsche.read_text_file(path)


def test_it_trains_and_is_no_result_of_the_book_s(tmp_path: Path) -> None:
    path = tmp_path / "goethe.txt"
    path.write_text(POEM, "utf-8")
    words = ["nietzsche_lstm", "--epochs", "1", "-p", f"text={path}", "--runs", str(tmp_path / "runs")]
    done = CliRunner().invoke(train, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    run = latest_run(tmp_path / "runs", "nietzsche_lstm")
    assert run.recipe.origin.dataset.startswith("goethe.txt: ")
    assert "ü" in (run.path / "assets" / "characters.json").read_text("utf-8")
    with pytest.raises(InvalidInput, match="not a finished run on real data"):
        results.record_result(run, tmp_path)
    best = results.best_result(catalogue.find_task("nietzsche_lstm"), tmp_path / "runs")
    assert best is None or best["run"] != run.name

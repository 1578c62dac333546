"""Data sets follow Keras's conventions exactly, report missing files clearly, and have samples that can be learned."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import Failed, NotFound
from bookserve.steps import Pad, Words
from trainers.datasets import boston, imdb, mnist, nietzsche, reuters

REAL = os.environ.get("BOOKSERVE_DATA")
WORDS = ["the", "film", "good", "bad", "was", "not", "rare"]


def objects(rows: list[list[int]]) -> np.ndarray:
    """An object array of lists, which is how Keras's imdb.npz holds its rows."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


@pytest.fixture
def tiny_imdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keras" / "datasets"
    folder.mkdir(parents=True)
    rows = [[1, 2, 5, 3], [1, 2, 5, 6, 3], [4, 7], [2, 2, 2], [1]]
    labels = np.array([1, 0, 0, 1, 1])
    x = objects(rows)
    np.savez(folder / "imdb.npz", x_train=x, y_train=labels, x_test=x[:3], y_test=labels[:3])
    (folder / "imdb_word_index.json").write_text(json.dumps({word: n for n, word in enumerate(WORDS, 1)}))
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    return folder


def test_imdb_ids_are_ranks_shifted_by_three_in_keras_s_order(tiny_imdb: Path) -> None:
    reviews = imdb.load("real", size=10)
    rng, order, tested = np.random.RandomState(113), np.arange(5), np.arange(3)
    rng.shuffle(order)
    rng.shuffle(tested)
    place = order.tolist().index(0)
    assert reviews.train.rows[place].tolist() == [1, 4, 5, 8, 6]
    assert reviews.train.labels.tolist() == np.array([1, 0, 0, 1, 1])[order].tolist()
    assert reviews.test.labels.tolist() == np.array([1, 0, 0])[tested].tolist()
    assert reviews.vocabulary.entries[4:] == ("the", "film", "good", "bad", "was", "not")
    words, pad = Words(reviews.vocabulary), Pad(6)
    assert words(["The film was GOOD!"])[0].tolist() == [1, 4, 5, 8, 6]  # the text and the ids are the same row
    rare = order.tolist().index(2)
    assert words(reviews.train.rows)[rare].tolist() == [1, 7, 2]  # a word beyond the vocabulary is unknown: 2
    assert pad(words(reviews.train.rows))[place].tolist() == [0, 1, 4, 5, 8, 6]


def test_texts_of_imdb_become_the_rows_they_were_made_from(tiny_imdb: Path) -> None:
    reviews = imdb.load("real", size=10)
    words = Words(reviews.vocabulary)
    for text, row in zip(reviews.examples, reviews.test.rows, strict=False):
        assert words([str(text)])[0].tolist() == words([row])[0].tolist()


class Intruder:
    """Runs code where a pickle is read carelessly."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("intruder",)


def test_a_file_that_smuggles_code_is_refused(tiny_imdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smuggled = np.empty(1, object)
    smuggled[0] = Intruder()
    np.savez(tiny_imdb / "imdb.npz", x_train=smuggled)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failed, match=r"imdb\.npz cannot be read"):
        imdb.load("real")
    assert not (tmp_path / "intruder").exists()


def test_the_error_for_a_missing_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    with pytest.raises(NotFound, match=r"mnist\.npz is missing.*--data sample"):
        mnist.load("real")


def test_a_wrong_corpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    path = tmp_path / "keras" / "datasets" / "nietzsche.txt"
    path.parent.mkdir(parents=True)
    path.write_text("God is dead.")
    with pytest.raises(Failed, match="12 characters; expected 600,893"):
        nietzsche.load("real")


def test_sample_digits_can_be_classified() -> None:
    digits = mnist.load("sample")
    train, test = (np.asarray(part.rows, float).reshape(len(part.labels), -1) for part in (digits.train, digits.test))
    centres = np.stack([train[digits.train.labels == digit].mean(axis=0) for digit in range(10)])
    nearest = ((test[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert digits.examples.dtype == np.uint8
    assert digits.examples.shape == (16, 28, 28)
    assert np.median(train[:, :28]) == 0  # white on black
    assert (nearest == digits.test.labels).mean() > 0.85


def test_sample_reviews_need_more_than_counting_words() -> None:
    reviews = imdb.load("sample")
    counts: dict[int, Counter[str]] = {label: Counter() for label in (0, 1)}
    for row, label in zip(reviews.train.rows, reviews.train.labels, strict=True):
        counts[label].update(row.split())
    predicted = [
        sum(np.log((counts[1][word] + 1) / (counts[0][word] + 1)) for word in row.split()) > 0
        for row in reviews.test.rows
    ]
    accuracy = (np.array(predicted) == reviews.test.labels).mean()
    assert abs(reviews.test.labels.mean() - 0.5) < 0.05
    assert 0.75 < accuracy < 0.9  # there is something to learn, and negation beyond what single words tell


def test_sample_prose_is_english_in_few_characters() -> None:
    corpus = nietzsche.load("sample")
    assert 30_000 <= len(corpus.text) <= 40_000
    assert set(corpus.vocabulary.entries) <= set("\n '(),-.:;abcdefghijklmnopqrstuvwxyz")
    common = Counter(corpus.text.split()).most_common(20)
    assert {"the", "a", "of", "is"} <= {word for word, _ in common}


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_the_real_imdb_is_keras_s() -> None:
    reviews = imdb.load("real")
    first = reviews.train.rows[0]
    assert first[:8].tolist() == [1, 14, 22, 16, 43, 530, 973, 1622]
    assert len(first) == 218
    assert reviews.train.labels[0] == 1
    entries = reviews.vocabulary.entries
    assert " ".join(entries[i] for i in first[1:7]) == "this film was just brilliant casting"
    words = Words(reviews.vocabulary)
    ids = words(reviews.train.rows[:100])
    assert max(row.max() for row in ids) < len(reviews.vocabulary) == 10_000
    texts = words([str(text) for text in reviews.examples])
    assert all(np.array_equal(a, b) for a, b in zip(texts, words(reviews.test.rows[:16]), strict=True))


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_the_other_real_data_sets_are_the_published_ones() -> None:
    digits, corpus = mnist.load("real"), nietzsche.load("real")
    assert np.shape(digits.train.rows) == (60_000, 28, 28)
    assert digits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert len(corpus.vocabulary) == 57


def test_sample_newswires_have_all_topics_and_one_that_is_common() -> None:
    wires = reuters.load("sample")
    counts = Counter(wires.train.labels.tolist())
    assert len(reuters.TOPICS) == len(counts) == 46
    assert 0.15 < max(counts.values()) / len(wires.train.labels) < 0.3
    assert any("cocoa" in text for text in wires.train.rows)


def test_sample_prices_follow_from_the_figures() -> None:
    houses = boston.load("sample")
    rows = np.asarray(houses.train.rows)
    assert rows.shape == (400, len(boston.FEATURES))
    fitted, *_ = np.linalg.lstsq(np.c_[rows, np.ones(400)], houses.train.labels, rcond=None)
    rest = houses.test.labels - np.c_[houses.test.rows, np.ones(100)] @ fitted
    assert np.abs(rest).mean() < 0.5 * np.abs(houses.test.labels - np.median(houses.train.labels)).mean()


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_the_real_reuters_and_boston_are_keras_s() -> None:
    wires = reuters.load("real")
    assert (len(wires.train.rows), len(wires.test.rows), len(wires.train.rows[0])) == (8982, 2246, 87)
    assert wires.train.labels[:10].tolist() == [3, 4, 3, 4, 4, 4, 4, 3, 3, 16]
    houses = boston.load("real")
    assert np.asarray(houses.train.rows)[0, :3].tolist() == [1.23247, 0.0, 8.14]
    assert houses.train.labels[:4].tolist() == [15.2, 42.3, 50.0, 21.1]
    assert len(houses.test.labels) == 102

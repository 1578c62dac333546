"""Load IMDB: 25,000 film reviews to train and 25,000 to test, half of them positive.

The sample is generated: short reviews with positive and negative sentences on parts of a film, some of them negated,
and neutral sentences.
Source: Maas et al. 2011 (ai.stanford.edu/~amaas/data/sentiment), as published by Keras.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from bookserve.steps.vocabulary import Vocabulary
from trainers.datasets.dataset import KERAS_DATASETS_URL, DataSet, Kind, Split, cached_file, report_unreadable

_SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_WORDS_MD5 = "md5:bfafd718b763782e994055a2d397834f"

#: The meaning of the ids 0–3; the most frequent word has id 4.
RESERVED = ("<padding>", "<start>", "<unknown>", "<unused>")


def load(kind: Kind, size: int = 10_000) -> DataSet:
    """Reviews and labels int64 [n] (1: positive); the vocabulary has ``size`` entries, including the reserved ones.

    Real rows are lists of ids as from ``keras.datasets.imdb.load_data``, but with rare words; sample rows are texts.
    The Step ``Words`` takes both.
    """
    return _real(size) if kind == "real" else _sample(size)


def _real(size: int) -> DataSet:
    # The rows are arrays of Python lists, which NumPy stores as pickles. Keras's reader refuses any other pickled type.
    from keras.src.datasets.npz_utils import load_npz

    path = cached_file("imdb.npz", f"{KERAS_DATASETS_URL}imdb.npz", _SHA256)
    index = cached_file("imdb_word_index.json", f"{KERAS_DATASETS_URL}imdb_word_index.json", _WORDS_MD5)
    with report_unreadable(path):
        arrays = load_npz(path)
    with report_unreadable(index):
        words: dict[str, int] = json.loads(index.read_text("utf-8"))
    rng = np.random.RandomState(113)  # as Keras does: one generator shuffles the training rows, then the test rows
    train, test = (_shuffled(arrays[f"x_{part}"], arrays[f"y_{part}"], rng) for part in ("train", "test"))
    ranked = (*RESERVED, *sorted(words, key=words.__getitem__))
    texts = np.array([" ".join(ranked[index] for index in row[1:]) for row in test.rows[:16]])
    vocabulary = Vocabulary("words", ranked[:size])
    return DataSet("IMDB: 25,000 film reviews, and 25,000 to test", train, test, texts, vocabulary)


def _shuffled(rows: np.ndarray, labels: np.ndarray, rng: np.random.RandomState) -> Split:
    """The rows in Keras's order; 3 is added to each rank because of the reserved ids, and rows begin with the id 1."""
    order = np.arange(len(rows))
    rng.shuffle(order)
    ids = [np.concatenate([[1], np.array(row, np.int32) + 3], dtype=np.int32) for row in rows[order]]
    return Split(ids, labels[order].astype(np.int64))


_PARTS = "the acting,the story,the ending,the music,the camera work,the dialogue,the cast,the plot,the script,this film"
GOOD = "wonderful,brilliant,moving,clever,charming,superb,funny,gripping,beautiful,great"
BAD = "terrible,boring,awful,clumsy,predictable,dull,annoying,weak,pointless,bad"
_NEUTRAL = (
    "i saw it last week with my family,it runs for about two hours,the film was shot in the north,"
    "my brother had bought the tickets,it is the second part of a series,they showed it on television again"
)


def _sample(size: int) -> DataSet:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2500)
    rows = [_review(bool(label), rng) for label in labels]
    counts = Counter(word for row in rows[:2000] for word in row.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = Vocabulary("words", (*RESERVED, *ranked[: size - len(RESERVED)]))
    train, test = Split(rows[:2000], labels[:2000]), Split(rows[2000:], labels[2000:])
    return DataSet("2,000 generated film reviews, and 500 to test", train, test, np.array(rows[2000:2016]), vocabulary)


def _review(positive: bool, rng: np.random.Generator) -> str:
    """Three to six sentences; five per cent of the positive or negative ones contradict the label."""
    sentences = []
    for _ in range(rng.integers(3, 7)):
        if rng.random() < 0.2:
            sentences.append(_choose(_NEUTRAL, rng))
            continue
        praise = positive if rng.random() < 0.95 else not positive
        negated = rng.random() < 0.2
        word = _choose(GOOD if praise != negated else BAD, rng)
        sentences.append(
            f"{_choose(_PARTS, rng)} was {'not ' if negated else ''}{_choose('really,so,very,quite', rng)} {word}"
        )
    return " ".join(sentences)


def _choose(choices: str, rng: np.random.Generator) -> str:
    return str(rng.choice(choices.split(",")))

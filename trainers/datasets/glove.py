"""GloVe: a vector for each of 400,000 words, learned from Wikipedia and news.

The sample is made up: its vectors know which words of the generated reviews praise, blame, or negate.
Source: Pennington, Socher and Manning 2014, nlp.stanford.edu/projects/glove.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bookserve.errors import Failed, NotFound
from trainers.datasets import imdb
from trainers.datasets.dataset import cached_file, report_unreadable

DIMENSIONS = 100
_NAME = "glove.6B.100d.txt"
_URL = "https://nlp.stanford.edu/data/glove.6B.zip"


def load_vectors(given: str, words: Sequence[str]) -> np.ndarray:
    """A vector float32 [100] for each of ``words``; zeros for those that GloVe does not know.

    ``given`` is ``glove.6B`` for the published vectors, ``sample``, or the path of a file in GloVe's text form.

    Raises:
        NotFound: no such file, and none to be had.
        Failed: a line with another number of fields, or a field that is no number.
    """
    if given == "sample":
        return _sample(words)
    if given != "glove.6B":
        path = Path(given).expanduser()
        if not path.is_file():
            raise NotFound(f"there is no file '{given}' of vectors.", "Give glove.6B, or the path of such a file.")
        with path.open(encoding="utf-8") as lines:
            return read_glove(lines, words, str(path))
    folder = os.environ.get("BOOKSERVE_DATA")
    unpacked = Path(folder or "") / "text" / _NAME
    if folder and unpacked.is_file():
        with unpacked.open(encoding="utf-8") as lines:
            return read_glove(lines, words, str(unpacked))
    path = cached_file(
        "glove.6B.zip", _URL, None
    )  # nobody publishes a checksum; the archive has one for each file in it
    with report_unreadable(path), zipfile.ZipFile(path) as archive, archive.open(_NAME) as packed:
        return read_glove(io.TextIOWrapper(packed, "utf-8"), words, str(path))


def read_glove(lines: Iterable[str], words: Sequence[str], path: str) -> np.ndarray:
    """The vectors of ``words`` from lines of a word and its hundred numbers."""
    rows = {word: index for index, word in enumerate(words)}
    vectors = np.zeros((len(words), DIMENSIONS), np.float32)
    for number, line in enumerate(lines, 1):
        word, *fields = line.rstrip("\n").split(" ")
        if len(fields) != DIMENSIONS:
            raise Failed(
                f"{path} has {len(fields)} numbers in line {number}; expected a word and {DIMENSIONS}.",
                f"Give {_NAME}, or another file of vectors with {DIMENSIONS} dimensions.",
            )
        if word in rows:
            try:
                vectors[rows[word]] = fields
            except ValueError as error:
                raise Failed(f"{path} is damaged in line {number}: {error}.") from error
    return vectors


def _sample(words: Sequence[str]) -> np.ndarray:
    """Chance, and two directions with a meaning: praise against blame, and negation."""
    vectors = np.random.default_rng(0).normal(0, 0.1, (len(words), DIMENSIONS)).astype(np.float32)
    good, bad = imdb.GOOD.split(","), imdb.BAD.split(",")
    vectors[:, 0] = [(word in good) - (word in bad) for word in words]
    vectors[:, 1] = [word == "not" for word in words]
    return vectors

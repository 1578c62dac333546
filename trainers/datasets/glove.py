"""Load GloVe: vectors of 400,000 words, learned from Wikipedia and news.

The sample is generated: its vectors encode which words of the generated reviews are positive, negative or a negation.
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


def load_vectors(source: str, words: Sequence[str]) -> np.ndarray:
    """A vector for each of ``words``, float32 [n, 100]; zeros for words that GloVe does not contain.

    ``source`` is ``glove.6B`` (the published vectors), ``sample``, or the path of a file in GloVe's text format.

    Raises:
        NotFound: there is no such file, and it cannot be downloaded.
        Failed: a line has another number of fields, or a field is not a number.
    """
    if source == "sample":
        return _sample(words)
    if source != "glove.6B":
        path = Path(source).expanduser()
        if not path.is_file():
            raise NotFound(f"there is no file '{source}' of vectors.", "Give glove.6B, or the path of such a file.")
        with path.open(encoding="utf-8") as lines:
            return read_glove(lines, words, str(path))
    folder = os.environ.get("BOOKSERVE_DATA")
    unpacked = Path(folder or "") / "text" / _NAME
    if folder and unpacked.is_file():
        with unpacked.open(encoding="utf-8") as lines:
            return read_glove(lines, words, str(unpacked))
    # No checksum is published; the zip archive has one for each file in it.
    path = cached_file("glove.6B.zip", _URL, None)
    with report_unreadable(path), zipfile.ZipFile(path) as archive, archive.open(_NAME) as packed:
        return read_glove(io.TextIOWrapper(packed, "utf-8"), words, str(path))


def read_glove(lines: Iterable[str], words: Sequence[str], path: str) -> np.ndarray:
    """Read the vectors of ``words``, float32 [n, 100], from lines with a word and 100 numbers."""
    rows = {word: index for index, word in enumerate(words)}
    vectors = np.zeros((len(words), DIMENSIONS), np.float32)
    for number, line in enumerate(lines, 1):
        word, *fields = line.rstrip("\n").split(" ")
        if len(fields) != DIMENSIONS:
            raise Failed(
                f"{path} has {len(fields)} numbers in line {number}; expected a word and {DIMENSIONS}.",
                f"Give {_NAME}, or another file with vectors of {DIMENSIONS} dimensions.",
            )
        if word in rows:
            try:
                vectors[rows[word]] = fields
            except ValueError as error:
                raise Failed(f"{path} is damaged in line {number}: {error}.", f"Give {_NAME}.") from error
    return vectors


def _sample(words: Sequence[str]) -> np.ndarray:
    """Random vectors, but in dimension 0 positive against negative words, and in dimension 1 the negation."""
    vectors = np.random.default_rng(0).normal(0, 0.1, (len(words), DIMENSIONS)).astype(np.float32)
    good, bad = imdb.GOOD.split(","), imdb.BAD.split(",")
    vectors[:, 0] = [(word in good) - (word in bad) for word in words]
    vectors[:, 1] = [word == "not" for word in words]
    return vectors

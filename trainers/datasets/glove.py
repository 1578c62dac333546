"""Load GloVe: vectors of 400,000 words, learned from Wikipedia and news.

The sample is generated: its vectors encode which words of the generated reviews are positive, negative or a negation.
Source: Pennington, Socher and Manning 2014, nlp.stanford.edu/projects/glove.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from bookserve.environment import expand_home
from bookserve.errors import Failed, NotFound
from trainers.datasets import imdb
from trainers.datasets.dataset import cached_file, find_user_file, report_unreadable

DIMENSIONS = 100
_NAME = "glove.6B.100d.txt"
_URL = "https://nlp.stanford.edu/data/glove.6B.zip"


def load_vectors(source: str, words: Sequence[str]) -> np.ndarray:
    """A vector for each of ``words``, float32 [n, 100]; zeros for words that the file does not contain.

    ``source`` is ``glove.6B`` (a file ``glove.6B.100d*.txt`` or ``.txt.gz`` in ``$BOOKSERVE_DATA/text``, else the
    published vectors), ``sample``, or the path of a file in GloVe's text format, which may be compressed by gzip.

    Raises:
        NotFound: there is no such file, and it cannot be downloaded.
        Failed: a line has another number of fields, or a field is not a number.
    """
    if source == "sample":
        return _sample(words)
    path = _find_user_vectors() if source == "glove.6B" else expand_home(source)
    if path:
        if not path.is_file():
            raise NotFound(f"there is no file '{source}' of vectors.", "Give glove.6B, or the path of such a file.")
        with report_unreadable(path), _open_text(path) as lines:
            return read_glove(lines, words, str(path))
    # No checksum is published; the zip archive has one for each file in it.
    path = cached_file("glove.6B.zip", _URL, None)
    with report_unreadable(path), zipfile.ZipFile(path) as archive, archive.open(_NAME) as packed:
        return read_glove(io.TextIOWrapper(packed, "utf-8"), words, str(path))


def _find_user_vectors() -> Path | None:
    """The whole file of vectors in ``$BOOKSERVE_DATA/text``, or else the largest part of it."""
    found = [find_user_file("text", name) for name in (_NAME, f"{_NAME}.gz")]
    folder = Path(os.environ.get("BOOKSERVE_DATA") or "") / "text"
    parts = [path for ending in ("txt", "txt.gz") for path in folder.glob(f"glove.6B.100d*.{ending}")]
    largest = max(parts, key=lambda path: path.stat().st_size, default=None)
    return next(filter(None, found), largest if os.environ.get("BOOKSERVE_DATA") else None)


def _open_text(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


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

"""What every data set gives: raw rows, before any Step. Each is a module here with ``load(kind)``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bookserve.errors import Failed, NotFound
from bookserve.steps import Rows
from bookserve.vocabulary import Vocabulary

#: ``real`` is the book's data set; ``sample`` a small stand-in that needs no download.
Kind = Literal["real", "sample"]

#: Where Keras publishes its data sets.
KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


class Split(NamedTuple):
    """Raw rows (pictures uint8 [n, height, width], lists of word ids, or texts) and their labels [n]."""

    rows: Rows
    labels: np.ndarray


class DataSet(NamedTuple):
    """Rows and labels, as they come."""

    #: What this is, in a few words.
    about: str
    train: Split
    test: Split
    #: A few rows of the test split as a person would give them: texts, or pictures.
    few: np.ndarray
    #: Of texts; without entries where the rows are none.
    vocabulary: Vocabulary = Vocabulary("words", ())


class Corpus(NamedTuple):
    """One long text, and the characters in it, sorted."""

    about: str
    text: str
    vocabulary: Vocabulary


def file(name: str, url: str, known_hash: str | None) -> Path:
    """Path of the data file ``name`` of Keras's data sets, which must not be written to.

    It is the one under ``$BOOKSERVE_DATA/keras/datasets/`` where that variable is set, as it lies; else the one in
    Keras's own cache (``$KERAS_HOME/datasets/``), downloaded from ``url`` and checked against ``known_hash``.

    Raises:
        NotFound: the file is not there and cannot be had.
    """
    given = os.environ.get("BOOKSERVE_DATA")
    if given:
        path = Path(given) / "keras" / "datasets" / name
        if not path.is_file():
            raise NotFound(f"{path} is missing (BOOKSERVE_DATA is {given}).", _by_hand(path))
        return path
    import pooch

    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    try:
        return Path(pooch.retrieve(url, known_hash, name, folder))
    except Exception as error:  # no network, a refused or broken download: the way out is the same for each
        reason = str(error).partition("\n")[0]
        raise NotFound(f"{name} is not in {folder} and could not be downloaded: {reason}.", _by_hand(folder)) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into one sentence.

    Raises:
        Failed: the body raised.
    """
    try:
        yield
    except Exception as error:
        raise Failed(f"{path} cannot be read: {error}.", "It is damaged: put it there anew.") from error


def _by_hand(place: Path) -> str:
    return (
        f"Put the file at {place} (or in keras/datasets/ of a folder that BOOKSERVE_DATA names), "
        "or train on what needs no file: --data sample"
    )

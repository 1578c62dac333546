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
from bookserve.steps.vocabulary import Vocabulary
from trainers.datasets.download import download_file

#: ``real`` is the book's data set; ``sample`` a small stand-in that needs no download.
Kind = Literal["real", "sample"]

#: Where Keras publishes its data sets.
KERAS_DATASETS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


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
    #: Where the data set itself holds rows out.
    validation: Split | None = None


class Corpus(NamedTuple):
    """One long text, and the characters in it, sorted."""

    about: str
    text: str
    vocabulary: Vocabulary


def cached_file(name: str, url: str, checksum: str | None, folder: str = "datasets") -> Path:
    """Path of a file that Keras keeps in its cache under ``folder`` (``datasets`` or ``models``); never written to.

    It is the one under ``$BOOKSERVE_DATA/keras/<folder>/`` where that variable is set, as it lies; else the one in
    Keras's own cache (``$KERAS_HOME/<folder>/``), downloaded from ``url`` and checked against ``checksum``: a SHA-256,
    ``md5:…``, or None where nobody publishes one.

    Raises:
        NotFound: the file is not there and cannot be had.
    """
    given = os.environ.get("BOOKSERVE_DATA")
    if given:
        path = Path(given) / "keras" / folder / name
        if not path.is_file():
            raise NotFound(f"{path} is missing (BOOKSERVE_DATA is {given}).", manual_download_hint(path))
        return path
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / folder
    path = cache / name
    if not path.is_file():
        try:
            download_file(url, path, f"sha256:{checksum}" if checksum and ":" not in checksum else checksum)
        except OSError as error:  # no network, a refused or broken download: the way out is the same for each
            why = str(error).strip("<>")
            raise NotFound(
                f"{name} is not in {cache} and could not be downloaded: {why}.", manual_download_hint(cache)
            ) from error
    return path


def user_data_path(name: str, how: str) -> Path:
    """The folder (or file) ``name`` under ``$BOOKSERVE_DATA``, for data that no program may download.

    Raises:
        NotFound: the variable is not set, or nothing of that name is there; ``how`` says where people get it.
    """
    given = os.environ.get("BOOKSERVE_DATA")
    path = Path(given or "data") / name
    if not given or not path.exists():
        said = f"{path} is missing" if given else "BOOKSERVE_DATA is not set"
        raise NotFound(
            f"{said}: {name} cannot be downloaded by a program.", f"{how} Or train on what needs no file: --data sample"
        )
    return path


@contextmanager
def report_unreadable(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into one sentence.

    Raises:
        Failed: the body raised.
    """
    try:
        yield
    except Exception as error:
        raise Failed(f"{path} cannot be read: {error}.", "It is damaged: put it there anew.") from error


def manual_download_hint(place: Path) -> str:
    """How a user gets by without a download."""
    return (
        f"Put the file at {place} (or in the keras folder of one that BOOKSERVE_DATA names), "
        "or train on what needs no file: --data sample"
    )

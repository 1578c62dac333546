"""Define what the data sets return (raw rows, before any Step), and find their files.

Files come from ``$BOOKSERVE_DATA`` if that variable is set, and otherwise from Keras's cache, after a download.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bookserve.environment import keras_directory
from bookserve.errors import BookserveError, Failed, NotFound
from bookserve.steps import Rows
from bookserve.steps.vocabulary import Vocabulary
from trainers.datasets.download import download_file

#: ``real`` is the book's data set; ``sample`` a small replacement that needs no download.
Kind = Literal["real", "sample"]

#: Where Keras publishes its data sets.
KERAS_DATASETS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


class Split(NamedTuple):
    """Raw rows (pictures uint8 [n, height, width], lists of word ids, or texts) and their labels [n]."""

    rows: Rows
    labels: np.ndarray


class DataSet(NamedTuple):
    """The rows and labels of a data set."""

    #: A few words on what the data is.
    about: str
    train: Split
    test: Split
    #: A few rows of the test split in the form in which users send them: texts or pictures.
    examples: np.ndarray
    #: The vocabulary of texts; empty for other rows.
    vocabulary: Vocabulary = Vocabulary("words", ())
    #: The validation rows, if the data set has its own.
    validation: Split | None = None


class Corpus(NamedTuple):
    """One long text, and its sorted characters as vocabulary."""

    about: str
    text: str
    vocabulary: Vocabulary


def cached_file(name: str, url: str, checksum: str | None, folder: str = "datasets", hint: str = "") -> Path:
    """The path of a file that Keras has in its cache under ``folder`` (``datasets`` or ``models``).

    If ``$BOOKSERVE_DATA`` is set, it is the file under ``$BOOKSERVE_DATA/keras/<folder>/``, which is not checked.
    Otherwise it is the one in Keras's own cache (``$KERAS_HOME/<folder>/``), downloaded from ``url`` if needed and
    checked against ``checksum``: a SHA-256, ``md5:…``, or None if none is published. ``hint`` is added to the hint of
    the error: another way to provide the file.

    Raises:
        NotFound: the file does not exist and cannot be downloaded.
    """
    given = os.environ.get("BOOKSERVE_DATA")
    if given:
        path = Path(given) / "keras" / folder / name
        if not path.is_file():
            raise NotFound(f"{path} is missing (BOOKSERVE_DATA is {given}).", manual_download_hint(path, hint))
        return path
    cache = keras_directory() / folder
    path = cache / name
    if not path.is_file():
        try:
            download_file(url, path, f"sha256:{checksum}" if checksum and ":" not in checksum else checksum)
        except OSError as error:  # no network, or a refused or incomplete download
            why = str(error).strip("<>")
            raise NotFound(
                f"{name} is not in {cache} and could not be downloaded: {why}.", manual_download_hint(cache, hint)
            ) from error
    return path


def find_user_file(folder: str, pattern: str, unwanted: str = "") -> Path | None:
    """The first file in ``$BOOKSERVE_DATA/<folder>`` whose name matches ``pattern`` but not ``unwanted``; None if none.

    Patterns are those of ``fnmatch``.
    """
    given = os.environ.get("BOOKSERVE_DATA")
    if not given:
        return None
    found = (path for path in sorted((Path(given) / folder).glob(pattern)) if path.is_file())
    return next((path for path in found if not fnmatch(path.name, unwanted)), None)


def user_data_path(name: str, how: str) -> Path:
    """The folder or file ``name`` under ``$BOOKSERVE_DATA``, for data that a program may not download.

    Raises:
        NotFound: the variable is not set, or there is no such folder or file; ``how`` tells users how to get it.
    """
    given = os.environ.get("BOOKSERVE_DATA")
    path = Path(given or "data") / name
    if not given or not path.exists():
        problem = f"{path} is missing" if given else "BOOKSERVE_DATA is not set"
        raise NotFound(
            f"{problem}: {name} cannot be downloaded automatically.",
            f"{how} Or use generated data, which needs no files: --data sample",
        )
    return path


@contextmanager
def report_unreadable(path: Path) -> Iterator[None]:
    """Turn any exception from reading the file at ``path`` inside this context into one error message.

    Raises:
        Failed: the body of the context raised an exception.
    """
    try:
        yield
    except BookserveError:
        raise  # it says more
    except Exception as error:
        raise Failed(f"{path} cannot be read: {error}.", "The file may be damaged: download it again.") from error


def manual_download_hint(place: Path, other: str = "") -> str:
    """Tell the user how to provide the file ``place`` by hand, in an ``other`` way, or what to use instead."""
    ways = (f"Put the file at {place} (or in the keras folder under BOOKSERVE_DATA).", other)
    return f"{' '.join(filter(None, ways))} Generated data needs no files: --data sample"

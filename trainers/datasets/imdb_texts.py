"""Load IMDB's reviews as raw texts.

The real ones come from aclImdb, as an archive or unpacked, complete or in part. The sample is that of
``trainers/datasets/imdb.py``, whose rows are texts.
Source: Maas et al. 2011 (ai.stanford.edu/~amaas/data/sentiment).
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from bookserve.errors import Failed
from trainers.datasets import imdb
from trainers.datasets.dataset import DataSet, Kind, Split, cached_file, report_unreadable

_URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
_MD5 = "md5:7c2ac02c03563afcf9b574c7e56c153a"


def load(kind: Kind) -> DataSet:
    """Texts and labels int64 [n] (1: positive), in the order of the file names: negative ones first."""
    if kind == "sample":
        return imdb.load("sample")
    place = _find_reviews()
    with report_unreadable(place):
        found = dict(_read_folder(place) if place.is_dir() else _read_archive(place))
    parts = {part: _split(found, part) for part in ("train", "test")}
    counts = {part: len(split.labels) for part, split in parts.items()}
    if not all(counts.values()):
        raise Failed(
            f"{place} lacks reviews; expected text files in pos/ and neg/ of both train/ and test/.",
            "Put the whole archive there.",
        )
    few = np.array(list(parts["test"].rows[:: counts["test"] // 15]))[:16]
    about = f"IMDB's texts: {counts['train']:,} film reviews, and {counts['test']:,} to test"
    return DataSet(about, parts["train"], parts["test"], few)


def _find_reviews() -> Path:
    """The folder aclImdb or its archive under ``$BOOKSERVE_DATA/text``, or else the archive in Keras's cache."""
    given = os.environ.get("BOOKSERVE_DATA")
    if given:
        folder = Path(given) / "text"
        for path in (folder / "aclImdb", *sorted(folder.glob("aclImdb*.tar.gz"))):
            if path.exists():
                return path
    return cached_file("aclImdb_v1.tar.gz", _URL, _MD5)


def _read_archive(path: Path) -> Iterator[tuple[str, str]]:
    """File names such as ``train/pos/0_9.txt`` and texts, read from the archive without unpacking it."""
    with tarfile.open(path) as archive:
        for member in archive:
            name = _review_name(member.name)
            content = archive.extractfile(member) if name else None
            if content:
                yield name, content.read().decode()


def _read_folder(path: Path) -> Iterator[tuple[str, str]]:
    for place in path.glob("*/*/*.txt"):
        if _review_name(place.as_posix()):
            yield _review_name(place.as_posix()), place.read_text("utf-8")


def _review_name(path: str) -> str:
    parts = PurePosixPath(path).parts[-3:]
    wanted = len(parts) == 3 and parts[0] in ("train", "test") and parts[1] in ("pos", "neg")
    return "/".join(parts) if wanted and parts[2].endswith(".txt") else ""


def _split(found: dict[str, str], part: str) -> Split:
    names = sorted(name for name in found if name.startswith(f"{part}/"))
    labels = np.array([name.split("/")[1] == "pos" for name in names], np.int64)
    return Split([found[name] for name in names], labels)

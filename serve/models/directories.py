"""Reads the directories of models and versions, and says what is odd about them.

A directory that cannot be read is an ``OSError``, never an empty directory: what is served must not depend on whether a
network drive answers at the moment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bookserve.bundle import MANIFEST
from bookserve.runtime.registry import runtimes

_VERSION = re.compile(r"[0-9]{1,18}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

#: Path, inode, size and time of change (ns) of each file of a version directory.
DirectoryState = tuple[tuple[str, int, int, int], ...]


class Found(NamedTuple):
    """The version directories of a model by number, and a sentence on each entry that looks like one and is none."""

    versions: dict[int, Path]
    odd: list[str]


def find_versions(path: Path) -> Found:
    """The version directories in ``path``; TensorFlow Serving's may begin with zeros. Hidden entries are ignored.

    Raises:
        OSError: the directory does not exist or cannot be read.
    """
    found = Found({}, [])
    with os.scandir(path) as entries:
        listed = sorted((each.name, _is_directory(each)) for each in entries if not each.name.startswith("."))
    for name, is_directory in listed:
        is_number = bool(_VERSION.fullmatch(name))
        if not (is_number or is_directory):
            continue
        entry = path / name
        if not is_directory:
            found.odd.append(f"{entry} is a file; expected a directory for each version.")
        elif not is_number or not int(entry.name):
            found.odd.append(f"{entry} is not served; expected a version, which is a number from 1 on, such as 1.")
        else:
            if (other := found.versions.get(int(entry.name))) is not None:
                found.odd.append(f"{other} is not served; {entry} is the same version.")
            found.versions[int(entry.name)] = entry
    if not found.versions:
        found.odd.append(f"{path} holds no version; {_advice(path)}")
    return found


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory or a link to one; not if it cannot be known."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def version_directories(path: Path) -> dict[int, Path]:
    """The version directories in ``path`` by number; none if it cannot be read."""
    try:
        return find_versions(path).versions
    except OSError:
        return {}


def model_directories(path: Path) -> tuple[list[Path], list[str]]:
    """The directories in ``path`` that may hold versions of a model, and a sentence on each whose name cannot be one.

    Raises:
        OSError: the directory does not exist or cannot be read.
    """
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".") and entry.is_dir()]
    odd = [
        f"{entry} is not served; expected a name of letters, digits, '.', '_' and '-'."
        for entry in entries
        if not _MODEL_NAME.fullmatch(entry.name)
    ]
    return [entry for entry in entries if _MODEL_NAME.fullmatch(entry.name)], odd


def directory_state(path: Path) -> DirectoryState:
    """The state of a version directory, which is another one as soon as a file in it is written or replaced.

    It is empty if the directory cannot be read.
    """
    try:
        return tuple(sorted(_file_states(str(path))))
    except OSError:  # it is being removed
        return ()


def _file_states(path: str) -> Iterator[tuple[str, int, int, int]]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _file_states(entry.path)
            elif entry.is_file():
                found = entry.stat()
                yield entry.path, found.st_ino, found.st_size, found.st_mtime_ns


def reason(error: OSError) -> str:
    """Why a path cannot be read, such as ``No such file or directory``."""
    return error.strerror or type(error).__name__


def _advice(path: Path) -> str:
    files = [MANIFEST, *(runtime.model_file for runtime in runtimes())]
    if present := [name for name in files if (path / name).exists()]:
        if path.name.isdecimal():
            return f"it seems to be a version itself: serve {path.parent} with --model-base-path."
        return f"move {present[0]} and the files beside it to {path / '1'}."
    return f"expected a directory such as {path / '1'} with {', '.join(files[:-1])} or {files[-1]}."

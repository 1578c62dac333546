"""Carry a bundle to another machine as a value: its files, and those of its members if it is a composite."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import numpy as np

from bookserve.bundle.bundle import MANIFEST, open_bundle
from bookserve.bundle.publication import move_into_place
from bookserve.errors import Failed


class Packed(NamedTuple):
    """Files of a directory of models. ``key`` is the same for the same files."""

    key: str
    version: int
    #: Path below the directory → content, uint8 [size].
    files: Mapping[str, np.ndarray]


def pack_bundle(models: Path, name: str, version: int | None = None) -> Packed:
    """The files of a version of a model, by default the newest, and of the models that it is composed of.

    Raises:
        NotFound: there is no such model or version.
    """
    opened = open_bundle(models, name, version)
    members = {
        (member.model, member.version)
        for graph in opened.manifest.graphs.values()
        for member in graph.members
        if member.model
    }
    needed = [opened, *(open_bundle(models, *member) for member in sorted(members))]
    files: dict[str, np.ndarray] = {}
    key = hashlib.sha256()
    for bundle in needed:
        place = f"{bundle.name}/{bundle.version}"
        # The manifest has the checksums of all other files.
        key.update(f"{place}\n".encode() + (bundle.path / MANIFEST).read_bytes())
        for relative in (MANIFEST, *bundle.manifest.files):
            files[f"{place}/{relative}"] = np.fromfile(bundle.path / relative, np.uint8)
    return Packed(key.hexdigest(), opened.version, files)


def unpack_bundle(key: str, read_files: Callable[[], Mapping[str, np.ndarray]], directory: Path) -> Path:
    """Write the files of ``pack_bundle`` into a directory of models below ``directory``, unless it is there already.

    Several processes may do so at the same time. Whoever opens the bundle compares its checksums.

    Raises:
        Failed: the directory cannot be written.
    """
    target = directory / key
    if target.is_dir():
        return _used(target)
    files = read_files()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".arriving-", dir=directory))
        try:
            for relative, content in files.items():
                path = staging / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                content.tofile(path)
            if not move_into_place(staging, target):
                rmtree(staging)
        except BaseException:
            rmtree(staging, ignore_errors=True)
            raise
    except OSError as error:
        raise Failed(f"{directory} cannot be written: {error}.", "XDG_CACHE_HOME names another place.") from error
    return _used(target)


def delete_unused(directory: Path, seconds: float) -> None:
    """Delete the copies below ``directory`` that ``unpack_bundle`` has not returned for so long.

    What interrupted processes left there is deleted, too. A copy vanishes as a whole.
    """
    for path in directory.iterdir():
        with suppress(OSError):  # another process deletes it at the same time
            if time.time() - path.stat().st_mtime > seconds:
                rmtree(path.rename(directory / f".leaving-{path.name}"))


def _used(copy: Path) -> Path:
    with suppress(OSError):  # another user's cache
        os.utime(copy)
    return copy

"""Looks for models in a directory of thousands: reads again only what has changed.

A directory's times change with the names in it: a model or version that is new, replaced or gone is found by one
``stat`` of the model's directory. They do not change when a file of a version is written over in place, which is not
how bundles are published. Small repositories are read as a whole each time, and large ones in turn, some models at each
scan.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Collection, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from serve.models.directories import find_versions, model_directories
from serve.models.model_config import ModelConfig, VersionPolicy

#: How many models are read as a whole at each scan.
READ_AT_ONCE = 128
#: A directory that changed in the last two seconds may change again without its times showing it: file systems count
#: in steps of up to that.
_SETTLED_NS = 2_000_000_000

#: Inode and times (ns) of a directory that will be other ones when the names in it change.
Stamp = tuple[int, int, int]


def directory_stamp(path: str) -> Stamp | None:
    """The stamp of a directory; None if it cannot be read, or has changed so recently that it must be read again."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of thousands of directories costs as much
    except OSError:
        return None
    if time.time_ns() - found.st_ctime_ns < _SETTLED_NS:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def has_stamp(path: str, stamp: Stamp | None) -> bool:
    """Whether a directory is as it was when it had this stamp."""
    if stamp is None:
        return False
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of thousands of directories costs as much
    except OSError:
        return False
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns) == stamp


def have_stamps(stamps: Mapping[str, Stamp | None]) -> bool:
    """Whether these directories are as they were when they had these stamps."""
    return not stamps or all(has_stamp(path, stamp) for path, stamp in stamps.items())


class _Model(NamedTuple):
    """What was found in one directory: its model, if it has versions, or what is odd about it."""

    path: str
    stamp: Stamp | None
    config: ModelConfig | None
    odd: list[str]


class DirectoryScan:
    """The models of one directory."""

    def __init__(self, path: Path, policy: Callable[[Path], VersionPolicy]) -> None:
        """``policy`` reads the version policy of the model in a directory."""
        self._path = path
        self._policy = policy
        self._stamp: Stamp | None = None
        self._odd: list[str] = []
        self._models: dict[str, _Model] = {}
        self._configs: list[ModelConfig] = []
        #: The names of the models whose directories were read at the last scan.
        self.changed: set[str] = set()

    def read(self, thoroughly: Collection[str] | None = None) -> tuple[list[ModelConfig], list[str]]:
        """The models, and a sentence on each entry that looks like one and is none.

        The list of models is the same object as before if nothing has changed. Models named in ``thoroughly`` (None:
        all) are read even if their directories seem unchanged.

        Raises:
            OSError: the directory cannot be read.
        """
        if thoroughly is None or not has_stamp(str(self._path), self._stamp):
            stamp = directory_stamp(str(self._path))
            directories, self._odd = model_directories(self._path)
            new = {path.name: _Model(str(path), None, None, []) for path in directories}
            self._models = {name: self._models.get(name, model) for name, model in new.items()}
            self._stamp = stamp
        self.changed = {
            name
            for name, model in self._models.items()
            if thoroughly is None or name in thoroughly or not has_stamp(model.path, model.stamp)
        }
        for name in self.changed:
            self._models[name] = self._read_model(self._models[name])
        configs = [model.config for model in self._models.values() if model.config is not None]
        if len(configs) != len(self._configs) or not all(map(operator.is_, configs, self._configs)):
            self._configs = configs
        return self._configs, [*self._odd, *(line for model in self._models.values() for line in model.odd)]

    def _read_model(self, known: _Model) -> _Model:
        path, stamp = Path(known.path), directory_stamp(known.path)
        try:
            versions, odd = find_versions(path)
        except FileNotFoundError:  # it was removed at this moment
            return known._replace(stamp=None, config=None, odd=[])
        except OSError:  # its model says so itself
            return known._replace(stamp=None, config=self._config(path, known), odd=[])
        if not versions:
            return known._replace(stamp=stamp, config=None, odd=odd)
        return known._replace(stamp=stamp, config=self._config(path, known), odd=[])

    def _config(self, path: Path, known: _Model) -> ModelConfig:
        config = ModelConfig(path.name, path, self._policy(path))
        return known.config if known.config == config and known.config is not None else config


class Turns:
    """Which models are read as a whole at the next scan: all of a small repository, some of a large one in turn."""

    def __init__(self) -> None:
        self._after = ""

    def next(self, names: Collection[str]) -> set[str] | None:
        """The names whose turn it is among ``names``, which are sorted; None: all."""
        if len(names) <= READ_AT_ONCE:
            return None
        behind = sum(name <= self._after for name in names)
        chosen = list(islice(cycle(names), behind, behind + READ_AT_ONCE))
        self._after = chosen[-1]
        return set(chosen)

"""The models that have values of their own in the metrics: as many as the operator allows, so that these stay bounded.

A model that has a place keeps it, since a value that goes from one label to another would look like a restart. The
worker processes of one server have the same models, by a file that each of them may only add to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

#: The label of all other models together; a model of a directory cannot have this name.
OTHER = "_other"


class NamedModels:
    """A set of names that only grows, up to ``limit``."""

    def __init__(self, limit: int, path: Path | None = None) -> None:
        """``path`` is the file that worker processes share; the first of them makes it."""
        self._limit = limit
        self._path = path
        self._names: set[str] = set()

    @property
    def full(self) -> bool:
        """Whether no model can get a place any more."""
        return len(self._names) >= self._limit

    def __contains__(self, model: str) -> bool:
        return model in self._names

    def add(self, traffic: Mapping[str, float]) -> None:
        """Give free places to these models, first to those with most requests."""
        if self._path is None:
            self._take(sorted(traffic, key=lambda model: -traffic[model]))
            return
        if self.full:
            return
        import fcntl  # not on Windows, which has no worker processes either

        with self._path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            self._take(file.read().splitlines())
            added = self._take(sorted(traffic, key=lambda model: -traffic[model]))
            file.write("".join(f"{model}\n" for model in added))

    def shown(self, models: Iterable[str]) -> set[str]:
        """Those of ``models`` that have a place, and as many others as there are free places, in their order."""
        known = dict.fromkeys(models)
        others = [model for model in known if model not in self._names]
        free = max(self._limit - len(self._names), 0)
        return {model for model in known if model in self._names} | set(others[:free])

    def _take(self, models: Iterable[str]) -> list[str]:
        added = []
        for model in models:
            if not self.full and model not in self._names:
                self._names.add(model)
                added.append(model)
        return added

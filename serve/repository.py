"""Repository: which versions of which models are live, and what became of those that are not.

The newest version of each model is loaded at the start. If it is broken, the next older one serves in its place. An
older version that lies on disk is loaded when it is first asked for by number.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bookserve import bundle
from bookserve.errors import BookserveError, NotFound, NotReady
from serve.metrics import Metrics
from serve.model import LiveModel


class VersionStatus(msgspec.Struct, frozen=True):
    """State of one version in TensorFlow Serving's words: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: str = ""


class Repository:
    """The models of one directory."""

    def __init__(self, models: Path, metrics: Metrics) -> None:
        self._path = models
        self._metrics = metrics
        self._live: dict[str, dict[int, LiveModel]] = {}
        self._errors: dict[str, dict[int, BookserveError]] = {}

    def load(self) -> None:
        """Load the newest version of every model that can be loaded; errors are kept for ``status``."""
        for name in bundle.names(self._path):
            for version in reversed(bundle.versions(self._path, name)):
                if self._load(name, version):
                    break

    def models(self) -> list[LiveModel]:
        """All live versions, by name and version."""
        return [live[version] for _, live in sorted(self._live.items()) for version in sorted(live)]

    def errors(self) -> list[BookserveError]:
        """Why versions could not be loaded."""
        return [error for errors in self._errors.values() for error in errors.values()]

    def get(self, name: str, version: int | None = None) -> LiveModel:
        """The live model of that name, the newest version where none is given.

        Raises:
            NotFound: no such model or version.
            NotReady: it is there but could not be loaded; the message says why.
        """
        live, errors = self._live.get(name, {}), self._errors.get(name, {})
        if version is None:
            version = max(live or errors, default=None)
        if version in live:
            return live[version]
        if version in errors:
            error = errors[version]
            raise NotReady(f"model '{name}' could not be loaded: {error.message}", error.hint)
        on_disk = bundle.versions(self._path, name)
        if version in on_disk:
            self._load(name, version)
            return self.get(name, version)
        if live or errors:
            raise NotFound(f"model '{name}' has no version {version}.", f"It has: {', '.join(map(str, on_disk))}.")
        listed = ", ".join(sorted({*self._live, *self._errors})) or "none"
        raise NotFound(f"there is no model '{name}' here.", f"Models here: {listed}.")

    def status(self, name: str) -> list[VersionStatus]:
        """States of the versions that were loaded or failed, newest first.

        Raises:
            NotFound: no such model.
        """
        found = [VersionStatus(version, "AVAILABLE") for version in self._live.get(name, {})]
        found += [VersionStatus(version, "END", str(error)) for version, error in self._errors.get(name, {}).items()]
        if not found:
            self.get(name)
        return sorted(found, key=lambda status: -status.version)

    def index(self) -> list[tuple[str, VersionStatus]]:
        """All versions on disk or loaded, by name and version; the state of those that were never loaded is UNKNOWN."""
        found = []
        for name in sorted({*bundle.names(self._path), *self._live, *self._errors}):
            states = {version: VersionStatus(version, "UNKNOWN") for version in bundle.versions(self._path, name)}
            if name in self._live or name in self._errors:
                states |= {status.version: status for status in self.status(name)}
            found += [(name, states[version]) for version in sorted(states)]
        return found

    def load_newest(self, name: str) -> None:
        """Load the newest version on disk, anew where it is live already; what was live stays if that fails.

        Raises:
            NotFound: no such model on disk.
            NotReady: it cannot be loaded.
        """
        on_disk = bundle.versions(self._path, name)
        if not on_disk:
            self.get(name)
        if not self._load(name, on_disk[-1]):
            error = self._errors[name][on_disk[-1]]
            raise NotReady(f"model '{name}' could not be loaded: {error.message}", error.hint)

    def unload(self, name: str) -> None:
        """Let go of all versions of a model; whoever holds one can still run it.

        Raises:
            NotFound: none is live.
        """
        if not self._live.get(name):
            self.get(name)
        self._errors.pop(name, None)
        for model in self._live.pop(name).values():
            model.close()
            self._metrics.loaded(name, model.version, False)

    def close(self) -> None:
        """Let go of every model."""
        for model in self.models():
            model.close()
            self._metrics.loaded(model.name, model.version, False)
        self._live.clear()

    def _load(self, name: str, version: int) -> bool:
        try:
            model = LiveModel(bundle.find(self._path, name, version), self._metrics)
        except BookserveError as error:
            self._errors.setdefault(name, {})[version] = error
            self._metrics.loaded(name, version, False)
            return False
        self._live.setdefault(name, {})[version] = model
        self._metrics.loaded(name, version, True)
        return True

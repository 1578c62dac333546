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
    """The models of one directory; ``variant`` names the form to serve them in where they have it."""

    def __init__(self, models: Path, metrics: Metrics, variant: str = "") -> None:
        self._path = models
        self._variant = variant
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

    def close(self) -> None:
        """Let go of every model."""
        for model in self.models():
            model.close()
            self._metrics.loaded(model.name, model.version, False)
        self._live.clear()

    def _load(self, name: str, version: int) -> bool:
        try:
            model = LiveModel(bundle.find(self._path, name, version).with_variant(self._variant), self._metrics)
        except BookserveError as error:
            self._errors.setdefault(name, {})[version] = error
            self._metrics.loaded(name, version, False)
            return False
        self._live.setdefault(name, {})[version] = model
        self._metrics.loaded(name, version, True)
        return True

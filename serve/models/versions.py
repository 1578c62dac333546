"""Versions: those of one model – which are live, which one a request means, and what became of the others.

``refresh`` runs in a thread while the event loop asks ``find``: what ``find`` reads is replaced, never changed.
"""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import msgspec

from bookserve.bundle import MANIFEST
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady
from serve.models.composite import MemberMissing
from serve.models.live_model import LiveModel
from serve.models.model_config import CANARY, STABLE, ModelConfig
from serve.observability.metrics import Metrics

#: Versions that ended and are still told of.
_ENDED = 10
_VERSION = re.compile(r"[0-9]{1,18}")

logger = logging.getLogger("bookserve")


class VersionStatus(msgspec.Struct, frozen=True):
    """State of one version in TensorFlow Serving's words: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: str = ""


class UnknownLabel(NotFound):
    """The model has no such label."""


class LabelUnavailable(InvalidInput):
    """A label was to be given to a version that is not live."""


Look = tuple[tuple[str, int, int, int], ...]
#: Opens one version directory of a model; the flag says that nobody should wait for it (it is opened when first run).
Open = Callable[[ModelConfig, Path, bool], LiveModel]


class ModelVersions:
    """The versions of one model."""

    def __init__(self, served: ModelConfig, open_version: Open, metrics: Metrics, canary: float = 0.0) -> None:
        """``canary`` is the share of requests naming no version that the one labelled ``canary`` gets."""
        self.served = served
        self._open = open_version
        self._metrics = metrics
        self._share = canary
        self._live: dict[int, LiveModel] = {}
        self._errors: dict[int, BookserveError] = {}
        self._states: dict[int, VersionStatus] = {}
        self._labels: dict[str, int] = {}
        self._default: LiveModel | None = None
        self._canary: LiveModel | None = None
        self._turns = 0
        #: What the directory of a version looked like when it was loaded, failed, or was last seen.
        self._seen: dict[int, Look] = {}
        self._changing = threading.Lock()
        self._started = False
        #: Versions that were asked for by number beside those of the policy.
        self._asked: set[int] = set()

    def live(self) -> list[LiveModel]:
        """The live versions, ascending."""
        return [model for _, model in sorted(self._live.items())]

    def errors(self) -> list[BookserveError]:
        """Why versions could not be loaded."""
        return list(self._errors.values())

    def missing(self) -> list[MemberMissing]:
        """Why composites could not be loaded that may be once another model is."""
        return [error for error in self._errors.values() if isinstance(error, MemberMissing)]

    def find(self, version: int | None = None, label: str | None = None) -> LiveModel:
        """The version of that number or label; without either the newest, or the one on trial in its share of cases.

        Raises:
            UnknownLabel, NotFound: there is none.
            NotReady: it is there but could not be loaded; the message says why.
        """
        if label:
            if label not in self._labels:
                has = ", ".join(sorted(self._labels)) or "none"
                raise UnknownLabel(f"model '{self.served.name}' has no label '{label}'.", f"Labels: {has}.")
            version = self._labels[label]
        if version is not None:
            return self._live.get(version) or self._on_request(version)
        if self._canary is not None:
            self._turns += 1
            if int(self._turns * self._share + 1e-9) > int((self._turns - 1) * self._share + 1e-9):
                return self._canary
        return self._default or self._on_request(max(self._errors, default=None))

    def status(self) -> list[VersionStatus]:
        """The versions known and their states, newest first."""
        known = list(self._states.values())  # copied at once: another thread may add to it
        return sorted(known, key=lambda status: -status.version)

    def refresh(self, again: bool = False) -> None:
        """Look at the directory and bring what is live into line with the policy.

        New versions are loaded before older ones are let go, and one that cannot be loaded replaces nothing. ``again``
        tries those, too, that failed and have not changed since.
        """
        on_disk = version_directories(self.served.path)
        candidates, count = self.served.policy.candidates(list(on_disk))
        chosen: set[int] = set()
        for version in candidates:
            if len(chosen) == count:
                break
            if self._ready(version, on_disk.get(version), again):
                chosen.add(version)
        short = len(chosen) < count and bool(self.served.policy.specific)
        for version in list(self._live):
            if version not in on_disk or not (version in chosen or version in self._asked or short):
                self.unload(version)
        for version in [version for version in self._errors if version not in {*on_disk, *candidates}]:
            del self._errors[version], self._states[version]
        self._started = True

    def assign(self, allow_unavailable: bool = False) -> None:
        """Give the labels that are wished for to their versions.

        Raises:
            LabelUnavailable: a version is not live, and the label is not a new one that may wait for it.
        """
        labels = dict(self.served.labels)
        for label, version in labels.items():
            if version in self._live or (allow_unavailable and label not in self._labels):
                continue
            raise LabelUnavailable(
                f"Request to assign label to version {version} of model {self.served.name}, "
                "which is not currently available for inference"
            )
        self._labels = labels
        self._point()

    def unload(self, version: int | None = None) -> None:
        """Let go of a version, or of all: it ends when the last request that holds it does."""
        for gone in list(self._live) if version is None else [version]:
            model = self._put(gone, None)
            self._asked.discard(gone)
            self._set(gone, "UNLOADING")
            if model:
                weakref.finalize(model, self._ended, gone).atexit = False
            del model

    def failed(self, version: int, error: BookserveError) -> None:
        """Note that a version that was to be opened when first run cannot be."""
        self._put(version, None)
        self._fail(version, error)

    def _ready(self, version: int, path: Path | None, again: bool) -> bool:
        """Make a version live, if it can be and is not yet."""
        if path is None:
            self._fail(version, NotFound(f"version {version} of model '{self.served.name}' is not on disk."))
            return False
        looks, seen = directory_state(path), self._seen.get(version)
        changed = looks != seen
        self._seen[version] = looks
        if version in self._live and not changed:
            return True
        if not again and version in self._errors and not changed:
            return False
        if changed and self._started and not again and not (path / MANIFEST).exists():
            self._set(version, "START")  # somebody may be copying it: it is loaded once it stays as it is
            return False
        return self._load(version, path)

    def _load(self, version: int, path: Path, later: bool = False) -> bool:
        known = version in self._live
        if not known:
            self._set(version, "LOADING")
        try:
            model = self._open(self.served, path, later)
        except BookserveError as error:
            self._fail(version, error, known)
        except Exception as error:  # a broken file can break a runtime in any way; the server lives on
            logger.exception("%s cannot be loaded", path)
            self._fail(version, Failed(f"{path} cannot be loaded: {type(error).__name__}."), known)
        else:
            self._errors.pop(version, None)
            self._put(version, model)
            self._set(version, "AVAILABLE")
            self._metrics.count_load(self.served.name, version, True)
        return version in self._live

    def _fail(self, version: int, error: BookserveError, still_live: bool = False) -> None:
        if not isinstance(error, MemberMissing):  # whoever loads what it is made of tells
            logger.warning("not served: model %s, version %d: %s", self.served.name, version, error)
        if not still_live:
            self._errors[version] = error
            self._set(version, "END", str(error))
            self._metrics.count_load(self.served.name, version, False)

    def _on_request(self, version: int | None) -> LiveModel:
        """The version that is not live: why not, unless it may be loaded now."""
        name, on_disk = self.served.name, version_directories(self.served.path)
        if version in self._errors:
            error = self._errors[version]
            raise NotReady(f"model '{name}' could not be loaded: {error.message}", error.hint)
        if version in on_disk and self.served.older and self._live:
            self._asked.add(version)
            self._load(version, on_disk[version], later=True)
            return self.find(version)
        if version is None or (version in on_disk and not self._live):
            raise NotFound(f"model '{name}' is not loaded.", "Load it, or wait until a version is there.")
        has = sorted(on_disk) if self.served.older else sorted(self._live)
        raise NotFound(f"model '{name}' has no version {version}.", f"It has: {', '.join(map(str, has)) or 'none'}.")

    def _put(self, version: int, model: LiveModel | None) -> LiveModel | None:
        """Make a version live, or no longer; the one that was."""
        with self._changing:
            before = self._live.get(version)
            rest = {number: live for number, live in self._live.items() if number != version}
            self._live = {**rest, version: model} if model else rest
            self._point()
        return before

    def _point(self) -> None:
        """Decide which version answers a request that names none."""
        live = self._live
        labelled = {label: live.get(version) for label, version in self._labels.items()}
        self._canary = labelled.get(CANARY) if self._share else None
        rest = [version for version in live if live[version] is not self._canary and version not in self._asked]
        self._default = (labelled.get(STABLE) if self._canary else None) or (
            live[max(rest)] if rest else live[max(live)] if live else None
        )

    def _set(self, version: int, state: str, error: str = "") -> None:
        self._states[version] = VersionStatus(version, state, error)

    def _ended(self, version: int) -> None:
        """The last holder of an unloaded version let go of it."""
        if version in self._live or self._states.get(version, VersionStatus(0, "")).state != "UNLOADING":
            return  # it was loaded again meanwhile
        self._set(version, "END")
        self._metrics.forget_version(self.served.name, version)
        ended = [status.version for status in self.status() if status.state == "END" and not status.error]
        for old in ended[_ENDED:]:
            del self._states[old]
            self._seen.pop(old, None)


def version_directories(path: Path) -> dict[int, Path]:
    """The version directories in ``path``, by number; TensorFlow Serving's may begin with zeros."""
    try:
        found = [entry for entry in path.iterdir() if _VERSION.fullmatch(entry.name) and entry.is_dir()]
    except OSError:
        return {}
    return {int(entry.name): entry for entry in sorted(found) if int(entry.name)}


def directory_state(path: Path) -> Look:
    """What a version directory looks like; it looks otherwise once any file in it was written or replaced."""
    try:
        stats = [(str(file), file.stat()) for file in sorted(path.rglob("*")) if file.is_file()]
    except OSError:  # it is being removed
        return ()
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)

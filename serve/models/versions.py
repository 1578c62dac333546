"""The versions of one model: which are live, which one a request means, and the states of all.

``refresh`` runs in a thread while the event loop calls ``find``: what ``find`` reads is replaced, never changed.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bookserve.bundle import MANIFEST
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady
from serve.models.composite import MemberMissing
from serve.models.directories import DirectoryState, directory_state, find_versions, reason, version_directories
from serve.models.directory_scan import Stamp, directory_stamp, has_stamp, have_stamps
from serve.models.live_model import LiveModel
from serve.models.model_config import CANARY, STABLE, ModelConfig
from serve.models.model_table import ModelTable
from serve.observability.metrics import Metrics

#: How many versions that ended are still listed in ``status``.
_MAX_ENDED = 10

logger = logging.getLogger("bookserve")


class VersionStatus(msgspec.Struct, frozen=True):
    """State of one version, as TensorFlow Serving names it: START, LOADING, AVAILABLE, UNLOADING or END.

    ``error`` says why it could not be loaded, or why its files cannot be read while it goes on serving.
    """

    version: int
    state: str
    error: str = ""


class UnknownLabel(NotFound):
    """The model has no such label."""


class LabelUnavailable(InvalidInput):
    """A label cannot be given to a version that is not live."""


#: Opens one version directory of a model; the flag says that it is loaded only when it is first run.
OpenVersion = Callable[[ModelConfig, Path, bool], LiveModel]


class ModelVersions:
    """The versions of one model."""

    def __init__(
        self, config: ModelConfig, open_version: OpenVersion, metrics: Metrics, table: ModelTable, canary: float = 0.0
    ) -> None:
        """``table`` is kept up to date with what is live.

        ``canary`` is the share of requests naming no version that the one labelled ``canary`` gets.
        """
        self.config = config
        self._open_version = open_version
        self._metrics = metrics
        self._table = table
        self._canary_share = canary
        self._live: dict[int, LiveModel] = {}
        self._errors: dict[int, BookserveError] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._labels: dict[str, int] = {}
        self._default: LiveModel | None = None
        self._canary: LiveModel | None = None
        self._unnamed_requests = 0
        #: The state of a version's directory when it was loaded, failed, or was last seen.
        self._directory_states: dict[int, DirectoryState] = {}
        #: Stamps of the version directories that the last refresh read and could not make live; None if the next one
        #: must read all again.
        self._stamps: dict[str, Stamp | None] | None = None
        #: The stamp of the model's directory at the last refresh.
        self._directory_stamp: Stamp | None = None
        self._lock = threading.Lock()
        self._started = False
        #: Versions beside those of the policy, which a request or a composite named by number.
        self._loaded_on_request: set[int] = set()
        #: By version, why the files of a live one cannot be read; and what was logged of the directory.
        self._unreadable: dict[int, str] = {}
        self._logged: set[str] = set()

    def live(self) -> list[LiveModel]:
        """The live versions, ascending."""
        return [model for _, model in sorted(self._live.items())]

    def errors(self) -> list[BookserveError]:
        """Why versions could not be loaded."""
        return list(self._errors.values())

    def missing_members(self) -> list[MemberMissing]:
        """Why composites could not be loaded; they may be once another model is live."""
        if not self._errors:
            return []
        return [error for error in self._errors.values() if isinstance(error, MemberMissing)]

    def find(self, version: int | None = None, label: str | None = None) -> LiveModel:
        """The version of that number or label.

        Without either, the newest; for its share of such requests, the one labelled ``canary``.

        Raises:
            UnknownLabel, NotFound: there is no such label or version.
            NotReady: it exists but could not be loaded; the message says why.
        """
        if label:
            if label not in self._labels:
                has = ", ".join(sorted(self._labels)) or "none"
                raise UnknownLabel(f"model '{self.config.name}' has no label '{label}'.", f"Labels: {has}.")
            version = self._labels[label]
        if version is not None:
            return self._live.get(version) or self._load_on_request(version)
        if self._canary is not None:
            self._unnamed_requests += 1
            before, after = ((self._unnamed_requests - step) * self._canary_share for step in (1, 0))
            if int(after + 1e-9) > int(before + 1e-9):
                return self._canary
        return self._default or self._load_on_request(max(self._errors, default=None))

    def find_member(self, version: int) -> LiveModel:
        """The version of that number for a composite, which was verified with it, whatever the policy is.

        Raises:
            NotFound, NotReady: see ``find``.
        """
        return self._live.get(version) or self._load_on_request(version, for_composite=True)

    @property
    def labels(self) -> dict[str, int]:
        """The version that each label means."""
        return dict(self._labels)

    def status(self) -> list[VersionStatus]:
        """The versions known and their states, newest first."""
        known = list(self._statuses.values())  # copied at once: another thread may add to it
        unreadable = self._unreadable
        return sorted(
            (
                msgspec.structs.replace(status, error=status.error or unreadable[status.version])
                if status.version in unreadable and status.state == "AVAILABLE"
                else status
                for status in known
            ),
            key=lambda status: -status.version,
        )

    def configure(self, config: ModelConfig) -> None:
        """Take another configuration, which the next ``refresh`` follows."""
        if config != self.config:
            self.config = config
            self._stamps = None
            self._loaded_on_request = set()

    def directory_changed(self) -> bool:
        """Whether the model's directory may have changed since the last refresh."""
        return not has_stamp(str(self.config.path), self._directory_stamp)

    def refresh(self, retry_failed: bool = False, changed: bool = True) -> None:
        """Read the directory and make the versions live that the policy names.

        New versions are loaded before older ones are unloaded, and one that cannot be loaded replaces nothing. If the
        directory cannot be read, everything stays as it is. ``retry_failed`` also tries versions that failed and have
        not changed since, and those that may still be being copied. If the model's directory has not ``changed``,
        versions that are live, which never change, are not read.
        """
        if not (changed or retry_failed) and self._stamps is not None and have_stamps(self._stamps):
            return
        self._stamps, self._directory_stamp = None, directory_stamp(str(self.config.path))
        stamps: dict[str, Stamp | None] = {}
        try:
            on_disk, odd = find_versions(self.config.path)
        except OSError as error:
            problem = f"{self.config.path} cannot be read: {reason(error)}."
            self._note_unreadable(dict.fromkeys(self._live, problem), [problem])
            return
        candidates, count = self.config.policy.candidates(list(on_disk))
        chosen: set[int] = set()
        unreadable: dict[int, str] = {}
        for version in candidates:
            if len(chosen) == count:
                break
            if version in on_disk:
                stamps[str(on_disk[version])] = directory_stamp(str(on_disk[version]))
            if version in self._live and (problem := self._unreadable_files(version, on_disk.get(version))):
                unreadable[version] = problem
                chosen.add(version)
            elif self._make_live(version, on_disk.get(version), retry_failed):
                chosen.add(version)
        self._note_unreadable(unreadable, odd)
        short = len(chosen) < count and bool(self.config.policy.specific)
        for version in list(self._live):
            wanted = version in chosen or (version in on_disk and (version in self._loaded_on_request or short))
            if not wanted:
                self.unload(version)
        for version in [version for version in self._errors if version not in {*on_disk, *candidates}]:
            del self._errors[version], self._statuses[version]
        self._started = True
        if not unreadable and all(status.state != "START" for status in self._statuses.values()):
            live = {str(on_disk[version]) for version in self._live if version in on_disk}
            self._stamps = {path: stamp for path, stamp in stamps.items() if path not in live}

    def assign_labels(self, allow_unavailable: bool = False) -> None:
        """Give the labels of the configuration to their versions.

        Raises:
            LabelUnavailable: a version is not live. With ``allow_unavailable`` a new label may wait for it.
        """
        labels = dict(self.config.labels)
        for label, version in labels.items():
            if version in self._live or (allow_unavailable and label not in self._labels):
                continue
            raise LabelUnavailable(
                f"Request to assign label to version {version} of model {self.config.name}, "
                "which is not currently available for inference"
            )
        self._labels = labels
        self._choose_default()

    def unload(self, version: int | None = None) -> None:
        """Unload a version, or all: it ends with the last request that holds it."""
        for number in list(self._live) if version is None else [version]:
            model = self._replace_live(number, None)
            self._loaded_on_request.discard(number)
            self._set_state(number, "UNLOADING")
            if model:
                weakref.finalize(model, self._note_end, number).atexit = False
            del model

    def note_failed_load(self, version: int, error: BookserveError) -> None:
        """A live version that was to be loaded when it is first run cannot be: it is not live any more."""
        self._stamps = None
        self._replace_live(version, None)
        self._note_failure(version, error)

    def _make_live(self, version: int, path: Path | None, retry_failed: bool) -> bool:
        """Make a version live, if it is not yet; gives whether it is."""
        if path is None:
            if version not in self._errors:
                missing = NotFound(f"version {version} of model '{self.config.name}' is not on disk.")
                self._note_failure(version, missing)
            return False
        state = directory_state(path)
        changed = state != self._directory_states.get(version)
        self._directory_states[version] = state
        if version in self._live and not changed:
            return True
        if not retry_failed and version in self._errors and not changed:
            return False
        if changed and self._started and not retry_failed and not (path / MANIFEST).exists():
            self._set_state(version, "START")  # it may still be being copied: it is loaded once it stays as it is
            return False
        return self._load(version, path)

    def _load(self, version: int, path: Path, on_demand: bool = False) -> bool:
        """Open a version and make it live; gives whether it is. If that fails, a live one of that number stays."""
        known = version in self._live
        if not known:
            self._set_state(version, "LOADING")
        try:
            model = self._open_version(self.config, path, on_demand)
        except BookserveError as error:
            self._note_failure(version, error, known)
        except Exception as error:  # a broken file can break a runtime in any way, and must not end the server
            logger.exception("%s cannot be loaded", path)
            self._note_failure(version, Failed(f"{path} cannot be loaded: {type(error).__name__}."), known)
        else:
            self._errors.pop(version, None)
            self._replace_live(version, model)
            self._set_state(version, "AVAILABLE")
            self._metrics.count_load(self.config.name, version, True)
        return version in self._live

    def _note_failure(self, version: int, error: BookserveError, still_live: bool = False) -> None:
        if not isinstance(error, MemberMissing):  # the repository logs that, once it has loaded all other models
            logger.warning("not served: model %s, version %d: %s", self.config.name, version, error)
        if not still_live:
            self._errors[version] = error
            self._set_state(version, "END", str(error))
            self._metrics.count_load(self.config.name, version, False)

    def _unreadable_files(self, version: int, path: Path | None) -> str:
        """Why the files of a live version that is to stay cannot be read; '' if they can."""
        if path is None:
            return f"{self.config.path / str(version)} is gone."
        return "" if directory_state(path) else f"{path} is empty or cannot be read."

    def _note_unreadable(self, versions: dict[int, str], problems: Iterable[str]) -> None:
        """Remember, for ``status``, which live versions have no readable files; log once what is new, and its end."""
        seen = {*problems, *versions.values()}
        for line in sorted(seen - self._logged):
            serving = ", ".join(map(str, sorted(versions)))
            kept = f" Version {serving} serves on." if line in versions.values() else ""
            logger.warning("model %s: %s%s", self.config.name, line, kept)
        if self._unreadable and not versions:
            logger.info("model %s: its files can be read again", self.config.name)
        self._unreadable, self._logged = versions, seen

    def _load_on_request(self, version: int | None, for_composite: bool = False) -> LiveModel:
        """Load a version that is not live, if it may be loaded. None is the default version. Raises as ``find``."""
        name, on_disk = self.config.name, version_directories(self.config.path)
        if version in self._errors:
            error = self._errors[version]
            raise NotReady(f"model '{name}' could not be loaded: {error.message}", error.hint)
        allowed = for_composite or self.config.policy.on_demand
        if version in on_disk and allowed and self._live:
            self._loaded_on_request.add(version)
            self._load(version, on_disk[version], on_demand=True)
            return self.find(version)
        if version is None or (version in on_disk and not self._live):
            raise NotFound(f"model '{name}' is not loaded.", "Load it, or wait until a version is there.")
        has = ", ".join(map(str, sorted(on_disk if allowed else self._live))) or "none"
        if version in on_disk and not allowed:
            raise NotFound(
                f"version {version} of model '{name}' is not served.",
                f"It serves: {has}. To load other versions when they are named: --version-policy on-demand",
            )
        raise NotFound(f"model '{name}' has no version {version}.", f"It has: {has}.")

    def _replace_live(self, version: int, model: LiveModel | None) -> LiveModel | None:
        """Make ``model`` the live one of that version (None: there is none any more); gives the one before."""
        with self._lock:
            before = self._live.get(version)
            others = {number: live for number, live in self._live.items() if number != version}
            self._live = {**others, version: model} if model else others
            self._table.put(self.config.name, version, model)
            self._choose_default()
        return before

    def _choose_default(self) -> None:
        """Choose the versions that answer requests that name none."""
        live = self._live
        labelled = {label: live.get(version) for label, version in self._labels.items()}
        self._canary = labelled.get(CANARY) if self._canary_share else None
        others = {version for version in live if live[version] is not self._canary} - self._loaded_on_request
        stable = labelled.get(STABLE) if self._canary else None
        self._default = stable or (live[max(others or live)] if live else None)

    def _set_state(self, version: int, state: str, error: str = "") -> None:
        self._statuses[version] = VersionStatus(version, state, error)

    def _note_end(self, version: int) -> None:
        """The last request that held an unloaded version has ended."""
        if version in self._live or self._statuses.get(version, VersionStatus(0, "")).state != "UNLOADING":
            return  # it was loaded again meanwhile
        self._set_state(version, "END")
        self._metrics.forget_version(self.config.name, version)
        ended = [status.version for status in self.status() if status.state == "END" and not status.error]
        for old in ended[_MAX_ENDED:]:
            del self._statuses[old]
            self._directory_states.pop(old, None)

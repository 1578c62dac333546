"""The models of one server, from a directory of them or from a list.

Of each model the versions that its policy names are live, by default the newest. If that one is broken, the next older
one serves in its place. What cannot be read is not taken for empty: its models serve on. Methods that load take their
time: call them in a thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from bookserve.bundle import MANIFEST, Bundle
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, did_you_mean
from bookserve.runtime import DeviceConfig, move_sessions
from bookserve.runtime.devices import CPU
from serve.batching.batch_config import BatchConfig
from serve.models.directories import reason, version_directories
from serve.models.directory_scan import DirectoryScan, Turns
from serve.models.live_model import LiveModel, WarmupRequests
from serve.models.model_cache import ModelCache
from serve.models.model_config import DirectoryConfig, ModelConfig, ReadConfig, VersionPolicy
from serve.models.model_table import ModelTable
from serve.models.versions import ModelVersions, VersionStatus
from serve.observability.metrics import Metrics

__all__ = ["LoadOptions", "Repository", "VersionStatus"]

logger = logging.getLogger("bookserve")


class LoadOptions(NamedTuple):
    """How models are loaded."""

    #: The version policy of the models of a directory; those of a list have their own.
    policy: VersionPolicy = VersionPolicy()
    batching: BatchConfig = BatchConfig()
    #: The variant to serve of models that have it; '' for float32.
    variant: str = ""
    #: Requests that a bundle brings for warm-up.
    warmup_requests: WarmupRequests = lambda _: ()
    #: Reads the configuration that a model of the directory has of its own.
    read_config: ReadConfig = lambda _: None
    #: Whether a model is loaded only when it is first run.
    lazy: bool = False
    #: How many models that are loaded when first run may be in memory at once; 0: any number.
    max_loaded: int = 0
    #: Share of the requests naming no version that the version labelled ``canary`` gets.
    canary: float = 0.0
    #: Whether a new label may be given to a version that is not live yet.
    unavailable_labels: bool = False
    #: What graphs run on; the names of other devices by model; and how many threads one run may use.
    device: DeviceConfig = DeviceConfig()
    devices: Mapping[str, str] = {}
    threads: int = 1
    #: Whether ``load`` and ``unload`` of one model are allowed: not if several processes serve the models.
    controlled: bool = True

    def device_of(self, model: str) -> DeviceConfig:
        """The device of a model."""
        name = self.devices.get(model)
        return self.device.with_name(name) if name else self.device


def _open_version(
    options: LoadOptions,
    metrics: Metrics,
    table: ModelTable,
    cache: ModelCache,
    config: ModelConfig,
    path: Path,
    on_demand: bool,
) -> LiveModel:
    """Open the version directory ``path`` of a model, or (``on_demand``) leave that to the first request."""
    own = options.read_config(path.parent)
    device = options.device_of(config.name)
    if (path / MANIFEST).exists():
        bundle, sessions = Bundle.open(path, config.name).with_variant(options.variant), None
    else:
        from bookserve.formats.external_model import describe_model_directory

        file = own.model_file(path) if own else None
        bundle, sessions = describe_model_directory(path, config.name, file, threads=options.threads)
        if device.name != CPU:
            sessions = move_sessions(bundle, sessions, device=device, threads=options.threads)
    model = LiveModel(
        own.apply(bundle) if own else bundle,
        metrics,
        _batching_of(options.batching, own),
        options.warmup_requests,
        table.find_model,
        device=device,
        threads=options.threads,
    )
    model.row_limit = own.row_limit if own else 0
    if (on_demand or options.lazy) and sessions is None:
        model.cache = cache
    else:
        model.open(sessions)
    return model


def _batching_of(batching: BatchConfig, own: DirectoryConfig | None) -> BatchConfig:
    """The bounds of a batch, with what the model's own configuration says of them."""
    if own is None:
        return batching
    return msgspec.structs.replace(
        batching,
        max_delay=own.max_delay or batching.max_delay,
        max_waiting=own.max_waiting or batching.max_waiting,
    )


class ModelsUnavailable(Failed):
    """New models of a list have no version that can be loaded."""

    def __init__(self, models: Sequence[ModelVersions]) -> None:
        reasons = [str(next(iter(model.errors()), f"no version in {model.config.path}")) for model in models]
        named = [
            f"{{Name: {model.config.name}}} due to error: {why}" for model, why in zip(models, reasons, strict=True)
        ]
        super().__init__(f"{len(models)} model(s) did not become available: {{{', '.join(named)}}}")


def _policy_of(options: LoadOptions, path: Path) -> VersionPolicy:
    """The version policy of a model of the directory: its own, or that of all."""
    try:
        own = options.read_config(path)
    except BookserveError:  # told when a version is opened
        return options.policy
    if own is None or own.versions is None:
        return options.policy
    latest, specific = own.versions
    return msgspec.structs.replace(options.policy, latest=latest, specific=specific)


class Repository:
    """The models of one server."""

    def __init__(
        self,
        models: Path,
        metrics: Metrics,
        configs: Sequence[ModelConfig] | None = None,
        options: LoadOptions | None = None,
    ) -> None:
        """Serve the models of the directory ``models``, now and later, or those of ``configs``."""
        self._path = models
        self._metrics = metrics
        self._options = options or LoadOptions()
        self._configs = configs
        self._directory = DirectoryScan(models, partial(_policy_of, self._options))
        self._turns = Turns()
        #: The models that ``_models`` has, as they were last found.
        self._followed: Sequence[ModelConfig] | None = None
        self._models: dict[str, ModelVersions] = {}
        self._unloaded: set[str] = set()
        self._lock = threading.Lock()
        #: The missing members of composites, and the problems of directories, that have been logged.
        self._logged_missing: set[str] = set()
        self._logged_problems: set[str] = set()
        self._table = ModelTable(self._find_member)
        # What versions and models hold does not hold the repository, which owns them.
        cache = ModelCache(self._options.max_loaded, self._note_failed_load, metrics)
        self._open_version = partial(_open_version, self._options, metrics, self._table, cache)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> LiveModel:
        """The live model of that name, with that version or label, else the newest.

        Raises:
            NotFound: no such model or version; ``UnknownLabel`` if it is the label.
            NotReady: it exists but could not be loaded; the message says why.
        """
        versions = self._models.get(name)
        if versions is None:
            listed = ", ".join(sorted(self._models)) or "none"
            raise NotFound(
                f"there is no model '{name}' here.", f"{did_you_mean(name, self.names())}Models here: {listed}."
            )
        return versions.find(version, label)

    def models(self) -> list[LiveModel]:
        """All live versions, by name and version."""
        return [model for _, versions in sorted(self._models.items()) for model in versions.live()]

    def names(self) -> list[str]:
        """All models, those included that are not live."""
        return sorted(self._models)

    def errors(self) -> list[BookserveError]:
        """Why versions could not be loaded."""
        return [error for versions in list(self._models.values()) for error in versions.errors()]

    def status(self, name: str) -> list[VersionStatus]:
        """States of the versions of a model that were loaded, failed or ended, newest first.

        Raises:
            NotFound: no such model.
        """
        if name not in self._models:
            self.find(name)
        return self._models[name].status()

    def labels(self, name: str) -> dict[str, int]:
        """The version that each label of a model means.

        Raises:
            NotFound: no such model.
        """
        if name not in self._models:
            self.find(name)
        return self._models[name].labels

    def load(self, name: str | None = None) -> None:
        """Load one model; without a name all models, and give them their labels. Errors of all are kept for ``status``.

        Raises:
            NotFound: no such model.
            NotReady: that model cannot be loaded, or not its newest version (an older one may go on serving).
            LabelUnavailable: a label cannot be given.
        """
        if name is None:
            self.refresh()
            with self._lock:
                for versions in self._models.values():
                    versions.assign_labels(self._options.unavailable_labels)
            return
        self._check_controlled()
        with self._lock:
            self._unloaded.discard(name)
            self._update_models()
            if name not in self._models:
                self.find(name)
            self._models[name].refresh(retry_failed=True)
            newest = self._models[name].status()[:1]
        if newest and newest[0].state == "END":
            self.find(name, newest[0].version)

    def unload(self, name: str) -> None:
        """Unload a model until it is loaded again. Requests that hold it are still answered.

        Raises:
            NotFound: no such model.
            InvalidInput: other processes serve it, too.
        """
        self._check_controlled()
        with self._lock:
            if name not in self._models:
                self.find(name)
            self._unloaded.add(name)
            self._models[name].unload()

    def refresh(self) -> None:
        """Read the directories again: load what is new, unload what has been removed.

        In a large repository some models are read as a whole, and of the others what has changed.
        """
        with self._lock:
            turn = self._turns.next(self._models)
            self._update_models(turn)
            changed: Collection[str] = self._directory.changed
            if self._configs is not None:
                changed = {
                    name
                    for name, versions in self._models.items()
                    if turn is None or name in turn or versions.directory_changed()
                }
            for name, versions in self._models.items():
                if name not in self._unloaded:
                    versions.refresh(changed=name in changed)
            self._retry_composites()

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serve the models of this list from now on, and no others. What it names is loaded before this returns.

        Raises:
            LabelUnavailable: a label cannot be given; everything else is done.
            ModelsUnavailable: a model that was not there before has no version that can be loaded; likewise.
        """
        with self._lock:
            known = set(self._models)
            self._configs = list(configs)
            self._unloaded.clear()
            self._update_models()
            for versions in self._models.values():
                versions.refresh(retry_failed=True)
            self._retry_composites()
            errors = []
            for versions in self._models.values():
                try:
                    versions.assign_labels(self._options.unavailable_labels)
                except BookserveError as error:
                    errors.append(error)
            if errors:
                raise errors[0]
            missing = [versions for name, versions in self._models.items() if name not in known and not versions.live()]
            if missing:
                raise ModelsUnavailable(missing)

    def index(self) -> list[tuple[str, VersionStatus]]:
        """All versions known or on disk, by name and version; the state of those never loaded is UNKNOWN."""
        found = []
        for name, versions in list(self._models.items()):
            states = {
                version: VersionStatus(version, "UNKNOWN") for version in version_directories(versions.config.path)
            }
            states |= {status.version: status for status in versions.status()}
            found += [(name, states[version]) for version in sorted(states)]
        return found

    def close(self) -> None:
        """Close and unload every model."""
        for model in self.models():
            model.close()
        for versions in self._models.values():
            versions.unload()
        self._models = {}

    def _retry_composites(self) -> None:
        """Load composites whose members have been loaded after them; what is still missing is logged once."""
        missing = set()
        for name, versions in self._models.items():
            if name not in self._unloaded and versions.missing_members():
                versions.refresh(retry_failed=True)
                missing |= {f"model {name}: {error}" for error in versions.missing_members()}
        for line in sorted(missing - self._logged_missing):
            logger.warning("not served yet: %s", line)
        self._logged_missing = missing

    def _check_controlled(self) -> None:
        if not self._options.controlled:
            raise InvalidInput(
                "several processes serve these models; one of them cannot load or unload alone.",
                "Change the directory or the models.config, and let --poll find it.",
            )

    def _update_models(self, thoroughly: set[str] | None = None) -> None:
        """Bring ``_models`` in line with the directory or list, and unload models that are not there any more.

        ``thoroughly`` are the models of the directory that are read even if they seem unchanged; None: all.
        """
        followed = self._scan(thoroughly) if self._configs is None else self._configs
        if followed is self._followed:
            return
        self._followed = followed
        wanted = {config.name: config for config in followed}
        for name in self._models.keys() - wanted.keys():
            self._models[name].unload()
        known = self._models
        self._models = {
            name: known.get(name)
            or ModelVersions(config, self._open_version, self._metrics, self._table, self._options.canary)
            for name, config in sorted(wanted.items())
        }
        for name, config in wanted.items():
            self._models[name].configure(config)

    def _scan(self, thoroughly: set[str] | None) -> Sequence[ModelConfig]:
        """The models of the directory. Where it cannot be read, they are those that there were."""
        try:
            configs, problems = self._directory.read(thoroughly)
        except OSError as error:
            self._directory.changed = set(self._models)
            kept = "Its models serve on." if self._models else ""
            self._log_problems([f"{self._path} cannot be read: {reason(error)}. {kept}".strip()])
            return [versions.config for versions in self._models.values()]
        self._log_problems(problems)
        return configs

    def _log_problems(self, problems: list[str]) -> None:
        """Log each problem once, until it is gone."""
        for line in sorted(set(problems) - self._logged_problems):
            logger.warning("%s", line)
        self._logged_problems = set(problems)

    def _find_member(self, name: str, version: int) -> LiveModel:
        """A version of a model that a composite is made of; see ``ModelVersions.find_member``."""
        versions = self._models.get(name)
        return self.find(name, version) if versions is None else versions.find_member(version)

    def _note_failed_load(self, model: LiveModel, error: BookserveError) -> None:
        if model.name in self._models:
            self._models[model.name].note_failed_load(model.version, error)

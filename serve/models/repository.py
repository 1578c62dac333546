"""Repository: the models of one server, from a directory of them or from a list.

Of each model the versions that its policy names are live: where nobody said more, the newest; if that is broken, the
next older one serves in its place, and an older version that lies on disk is loaded when it is first asked for by
number. Methods that load take their time: call them in a thread.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bookserve.bundle import MANIFEST, Bundle
from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.formats.external_model import describe_model_directory
from serve.batching.batch_config import BatchConfig
from serve.models.live_model import LiveModel, Records
from serve.models.model_cache import ModelCache
from serve.models.model_config import ModelConfig, VersionPolicy
from serve.models.model_table import ModelTable
from serve.models.versions import ModelVersions, VersionStatus, version_directories
from serve.observability.metrics import Metrics

__all__ = ["Repository", "VersionStatus"]

logger = logging.getLogger("bookserve")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class LoadOptions(NamedTuple):
    """How models are loaded."""

    #: For the models of a directory; those of a list have their own.
    policy: VersionPolicy = VersionPolicy()
    batching: BatchConfig = BatchConfig()
    #: The form to serve models in that have it.
    variant: str = ""
    records: Records = lambda _: ()
    #: Load a model when it is first run, not before.
    lazy: bool = False
    #: How many models loaded that way may be in memory at once; 0 for any number.
    most: int = 0
    #: Share of the requests naming no version that the version labelled ``canary`` gets.
    canary: float = 0.0
    #: Whether a new label may be given to a version that is not live yet.
    unavailable_labels: bool = False
    #: What graphs run on, and how many threads one run may use; see ``open_session``.
    device: str = "cpu"
    threads: int = 1
    #: Whether ``load``, ``unload`` and ``reload`` may be asked for one model: not where several processes serve it.
    controlled: bool = True


def _open_version(
    options: LoadOptions,
    metrics: Metrics,
    table: ModelTable,
    cache: ModelCache,
    config: ModelConfig,
    path: Path,
    later: bool,
) -> LiveModel:
    """Open the version directory ``path`` of a model, or (``later``) leave that to the first request."""
    if (path / MANIFEST).exists():
        bundle, sessions = Bundle.open(path, config.name).with_variant(options.variant), None
    else:
        bundle, sessions = describe_model_directory(path, config.name, device=options.device, threads=options.threads)
    model = LiveModel(
        bundle,
        metrics,
        options.batching,
        options.records,
        table.find_model,
        device=options.device,
        threads=options.threads,
    )
    if (later or options.lazy) and sessions is None:
        model.on_demand = cache
    else:
        model.open(sessions)
    return model


class Repository:
    """The models of one server."""

    def __init__(
        self,
        models: Path,
        metrics: Metrics,
        served: Sequence[ModelConfig] | None = None,
        options: LoadOptions | None = None,
    ) -> None:
        """Serve what is in ``models``, now and later, or the list ``served``."""
        self._path = models
        self._metrics = metrics
        self._options = options or LoadOptions()
        self._served = served
        self._models: dict[str, ModelVersions] = {}
        self._unloaded: set[str] = set()
        self._changing = threading.Lock()
        #: What composites lack, as the log was told.
        self._waiting: set[str] = set()
        self._table = ModelTable(self.find)
        # Versions and models get what they need to open themselves, and never the repository, which owns them.
        cache = ModelCache(self._options.most, self._failed)
        self._open_version = partial(_open_version, self._options, metrics, self._table, cache)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> LiveModel:
        """The live model of that name: the version or label asked for, else the newest.

        Raises:
            NotFound: no such model or version; ``UnknownLabel`` if it is the label.
            NotReady: it is there but could not be loaded; the message says why.
        """
        versions = self._models.get(name)
        if versions is None:
            listed = ", ".join(sorted(self._models)) or "none"
            raise NotFound(f"there is no model '{name}' here.", f"Models here: {listed}.")
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

    def load(self, name: str | None = None) -> None:
        """Load one model, or at the start all of them, and give the labels; errors of all are kept for ``status``.

        Raises:
            NotFound: no such model.
            NotReady: that model cannot be loaded, or not its newest version (an older one may go on serving).
            LabelUnavailable: a label cannot be given.
        """
        if name is None:
            self.refresh()
            with self._changing:
                for versions in self._models.values():
                    versions.assign(self._options.unavailable_labels)
            return
        self._check_controlled()
        with self._changing:
            self._unloaded.discard(name)
            self._list()
            if name not in self._models:
                self.find(name)
            self._models[name].refresh(again=True)
            newest = self._models[name].status()[:1]
        if newest and newest[0].state == "END":
            self.find(name, newest[0].version)

    def unload(self, name: str) -> None:
        """Let go of a model until it is loaded again. Requests that hold it are still answered.

        Raises:
            NotFound: no such model.
            InvalidInput: other processes serve it, too.
        """
        self._check_controlled()
        with self._changing:
            if name not in self._models:
                self.find(name)
            self._unloaded.add(name)
            self._models[name].unload()

    def refresh(self) -> None:
        """Look what is there now: load what is new, let go of what is gone."""
        with self._changing:
            self._list()
            for name, versions in self._models.items():
                if name not in self._unloaded:
                    versions.refresh()
            self._complete()

    def reload(self, served: Sequence[ModelConfig]) -> None:
        """Serve this list from now on, and only it.

        Raises:
            LabelUnavailable: a label cannot be given; the rest is done.
        """
        with self._changing:
            self._served = list(served)
            self._unloaded.clear()
            self._list()
            for versions in self._models.values():
                versions.refresh()
            self._complete()
            errors = []
            for versions in self._models.values():
                try:
                    versions.assign(self._options.unavailable_labels)
                except BookserveError as error:
                    errors.append(error)
            if errors:
                raise errors[0]

    def index(self) -> list[tuple[str, VersionStatus]]:
        """All versions known or on disk, by name and version; the state of those never loaded is UNKNOWN."""
        found = []
        for name, versions in list(self._models.items()):
            states = {
                version: VersionStatus(version, "UNKNOWN") for version in version_directories(versions.served.path)
            }
            states |= {status.version: status for status in versions.status()}
            found += [(name, states[version]) for version in sorted(states)]
        return found

    def close(self) -> None:
        """Let go of every model."""
        for model in self.models():
            model.close()
        for versions in self._models.values():
            versions.unload()
        self._models = {}

    def _complete(self) -> None:
        """Load the composites that came before a model that they are made of; the log gets what still waits, once."""
        waiting = set()
        for name, versions in self._models.items():
            if name not in self._unloaded and versions.missing():
                versions.refresh(again=True)
                waiting |= {f"model {name}: {error}" for error in versions.missing()}
        for told in sorted(waiting - self._waiting):
            logger.warning("not served yet: %s", told)
        self._waiting = waiting

    def _check_controlled(self) -> None:
        if not self._options.controlled:
            raise InvalidInput(
                "several processes serve these models; one of them cannot load or unload alone.",
                "Change the directory or the models.config, and let --poll find it.",
            )

    def _list(self) -> None:
        """Make the models known that are to be served, and let go of the others."""
        wanted = {served.name: served for served in (self._scan() if self._served is None else self._served)}
        for name in self._models.keys() - wanted.keys():
            self._models[name].unload()
        known = self._models
        self._models = {
            name: known.get(name)
            or ModelVersions(served, self._open_version, self._metrics, self._table, self._options.canary)
            for name, served in sorted(wanted.items())
        }
        for name, served in wanted.items():
            self._models[name].served = served

    def _scan(self) -> list[ModelConfig]:
        try:
            found = [path for path in self._path.iterdir() if _NAME.fullmatch(path.name)]
        except OSError:
            return []
        return [ModelConfig(path.name, path, self._options.policy) for path in found if version_directories(path)]

    def _failed(self, model: LiveModel, error: BookserveError) -> None:
        if model.name in self._models:
            self._models[model.name].failed(model.version, error)

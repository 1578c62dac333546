"""Run the models of a directory in this process, without a server."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.client.wires.graphs import GraphWire
from bookserve.errors import BookserveError, Failed, NotFound
from bookserve.graph import Graph
from bookserve.runtime import DeviceConfig, Session, open_graph, open_onnx
from bookserve.verb import MultiStepDecoder


class LocalWire(GraphWire):
    """Opens bundles and sessions at first use and keeps them open; threads may share it."""

    #: Steps, pictures' decoders and sessions let other threads run.
    parallel = os.cpu_count() or 1
    table_rows = 16_384

    def __init__(
        self, models: Path, variant: str = "", *, device: str | DeviceConfig = "cpu", threads: int = 1
    ) -> None:
        """``variant`` names the form to run of models that have it, as ``bookserve serve --variant`` does.

        Raises:
            InvalidInput: there is no such device.
            NotFound: there is no such directory.
        """
        if not models.is_dir():
            raise NotFound(f"there is no directory '{models}'.", "Write bundles with: bookserve export")
        self._models = models
        self._variant = variant
        self._bundles: dict[tuple[str, int | None], Bundle] = {}
        self._device = DeviceConfig.of(device)
        self._threads = threads
        self._sessions: dict[Path, Session] = {}
        self._opening = threading.RLock()

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``; versions that cannot be read are left out."""
        return [bundle.summarise_bundle(found) for found in list_bundles(self._models)[0]]

    def close(self) -> None:
        """Close the sessions."""
        self._sessions.clear()

    def open(self, model: str, version: int | None) -> Bundle:
        """See ``GraphWire``."""
        key = model, version
        with self._opening:
            if key not in self._bundles:
                found = bundle.open_bundle(self._models, model, version).with_variant(self._variant)
                found.check_files(everything=False)
                self._bundles[key] = found
            return self._bundles[key]

    def graph(self, opened: Bundle, name: str) -> tuple[Graph, Session]:
        """See ``GraphWire``."""
        name, graph = opened.graph(name)
        if graph.onnx is None and not graph.members:
            raise Failed(
                f"graph '{name}' of model '{opened.name}' has no ONNX form and can only run in TensorFlow.",
                f"Serve it (bookserve serve {self._models}) and use --url http://127.0.0.1:8501",
            )
        with self._opening:
            return graph, open_graph(
                opened, name, self.open, device=self._device, threads=self._threads, opened=self._sessions
            )

    def decoder(self, opened: Bundle, decoder: MultiStepDecoder) -> Session | None:
        """See ``GraphWire``."""
        path = opened.path / decoder.onnx
        with self._opening:
            if path not in self._sessions:
                self._sessions[path] = open_onnx(opened, bundle.MULTI_STEP, device=self._device, threads=self._threads)
            return self._sessions[path]


def list_bundles(models: Path) -> tuple[list[Bundle], list[BookserveError]]:
    """The newest version of each model that can be opened, and the errors of newer ones that cannot."""
    found: list[Bundle] = []
    errors: list[BookserveError] = []
    for name in bundle.model_names(models):
        for version in reversed(bundle.versions(models, name)):
            try:
                found.append(bundle.open_bundle(models, name, version))
                break
            except BookserveError as error:
                errors.append(error)
    return found, errors

"""Run the models of a directory in this process, without a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from bookserve import bundle
from bookserve.api.requests import ExplainRequest, GenerateRequest, PredictRequest, SampleRequest, TransformRequest
from bookserve.bundle import Bundle
from bookserve.bundle.notes import answer_notes
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.client import OnProgress, Samples
from bookserve.errors import BookserveError, Failed, NotFound
from bookserve.generation.explain import (
    ACTIVATIONS,
    Explanation,
    Layer,
    Run,
    check_explains,
    explain,
    filter_patterns,
    layer_activations,
)
from bookserve.generation.latent import encoded_points, encoder_feeds, encoder_graph, requested_points
from bookserve.generation.text import Piece, multi_step_feeds, take_multi_step, text_streams
from bookserve.generation.transform import prepare_pictures, transform_with_progress, with_parameters
from bookserve.graph import Arrays, Graph
from bookserve.runtime import DeviceConfig, Session, open_graph, open_onnx
from bookserve.steps import apply_steps
from bookserve.table import Table
from bookserve.verb import Generate, Predict, Sample, Transform


class LocalWire:
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

    def predict(self, model: str, request: PredictRequest) -> Answers:
        """See ``Client.predict``."""
        opened = self._open(model, request.version)
        verb = opened.verb(Predict)
        graph, backend = self._backend(opened, verb.graph)
        notes = answer_notes(opened, request.rows)
        feeds = verb.encode(request.rows)
        graph.check(feeds)
        return Answers(verb.decode(backend.run(feeds)), notes, verb.output_units)

    def predict_table(self, model: str, table: Table, version: int | None) -> AnswerTable:
        """See ``Client.predict_parts``."""
        opened = self._open(model, version)
        verb = opened.verb(Predict)
        graph, backend = self._backend(opened, verb.graph)
        notes = answer_notes(opened, table)
        feeds = verb.encode(table)
        graph.check(feeds)
        return AnswerTable(verb.decode_columns(backend.run(feeds)), notes, verb.output_units)

    def generate(self, model: str, request: GenerateRequest) -> Generator[Piece]:
        """See ``Client.pieces``."""
        opened = self._open(model, request.version)
        verb = opened.verb(Generate)
        graph, backend = self._backend(opened, verb.graph)
        live = text_streams(verb, graph, request)
        outputs = backend.run(live[0].feeds())  # all texts start with the same prompt
        yield from (stream.take(outputs) for stream in live)
        if verb.ahead is None or not request.plain(verb.ahead.likeliest):
            for stream in live:
                yield from stream.write(backend.run)
            return
        ahead = self._session(opened, bundle.MULTI_STEP, opened.path / verb.ahead.onnx)
        while live := [stream for stream in live if not stream.done]:
            feeds = multi_step_feeds(live, verb.ahead, len(verb.characters.vocabulary))
            yield from take_multi_step(live, ahead.run(feeds))

    def sample(self, model: str, request: SampleRequest) -> Samples:
        """See ``Client.sample``."""
        opened = self._open(model, request.version)
        verb = opened.verb(Sample)
        graph, backend = self._backend(opened, verb.decode)
        points = requested_points(
            request, verb.latent, self._encode(opened, verb, request.images) if request.images else None
        )
        feeds = dict.fromkeys(graph.inputs, points)
        graph.check(feeds)
        outputs = backend.run(feeds)
        return Samples(points, np.asarray(apply_steps(verb.after, next(iter(outputs.values())))))

    def transform(self, request: TransformRequest, tell: OnProgress) -> np.ndarray:
        """See ``Client.transform``."""
        opened = self._open(request.model, request.version)
        verb = with_parameters(opened.verb(Transform), request.params)

        def run(name: str, feeds: Arrays) -> Arrays:
            graph, backend = self._backend(opened, name)
            graph.check(feeds)
            return backend.run(feeds)

        return transform_with_progress(verb, run, prepare_pictures(verb, request.images), tell)

    def explain(self, model: str, request: ExplainRequest) -> Explanation:
        """See ``Client.explain``."""
        opened = self._open(model, request.version)
        verb, graphs = opened.verb(Predict), opened.manifest.graphs
        check_explains(model, graphs)
        return explain(verb, graphs, self._runner(opened), request.row, request.label)

    def activations(self, model: str, request: ExplainRequest) -> list[Layer]:
        """See ``Client.activations``."""
        opened = self._open(model, request.version)
        verb, graphs = opened.verb(Predict), opened.manifest.graphs
        check_explains(model, graphs)
        return layer_activations(verb, self._runner(opened), request.row, list(graphs[ACTIVATIONS].outputs))

    def filters(self, model: str, version: int | None) -> list[Layer]:
        """See ``Client.filters``."""
        return filter_patterns(self._open(model, version))

    def close(self) -> None:
        """Close the sessions."""
        self._sessions.clear()

    def _open(self, model: str, version: int | None) -> Bundle:
        key = model, version
        with self._opening:
            if key not in self._bundles:
                found = bundle.open_bundle(self._models, model, version).with_variant(self._variant)
                found.check_files(everything=False)
                self._bundles[key] = found
            return self._bundles[key]

    def _encode(self, opened: Bundle, verb: Sample, rows: list[Any]) -> np.ndarray:
        graph, backend = self._backend(opened, encoder_graph(verb, opened.name))
        feeds = encoder_feeds(verb, graph, rows)
        graph.check(feeds)
        return encoded_points(graph, backend.run(feeds))

    def _runner(self, opened: Bundle) -> Run:
        return lambda name, feeds: self._backend(opened, name)[1].run(feeds)

    def _backend(self, opened: Bundle, name: str) -> tuple[Graph, Session]:
        name, graph = opened.graph(name)
        if graph.onnx is None and not graph.members:
            raise Failed(
                f"graph '{name}' of model '{opened.name}' has no ONNX form and can only run in TensorFlow.",
                f"Serve it (bookserve serve {self._models}) and use --url http://127.0.0.1:8501",
            )
        with self._opening:
            return graph, open_graph(
                opened, name, self._open, device=self._device, threads=self._threads, opened=self._sessions
            )

    def _session(self, opened: Bundle, name: str, path: Path) -> Session:
        with self._opening:
            if path not in self._sessions:
                self._sessions[path] = open_onnx(opened, name, device=self._device, threads=self._threads)
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

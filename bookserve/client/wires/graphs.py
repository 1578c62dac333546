"""What a client does itself where it has the bundle and only graphs are run elsewhere: Steps before and after them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

import numpy as np

from bookserve.api.requests import ExplainRequest, GenerateRequest, PredictRequest, SampleRequest, TransformRequest
from bookserve.bundle import Bundle
from bookserve.bundle.notes import answer_notes
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.client import OnProgress, Samples
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
from bookserve.runtime import Session
from bookserve.steps import apply_steps
from bookserve.table import Table
from bookserve.verb import Generate, MultiStepDecoder, Predict, Sample, Transform


class GraphWire(ABC):
    """Encodes rows by a bundle's Steps, has its graphs run, and decodes their outputs."""

    @abstractmethod
    def open(self, model: str, version: int | None) -> Bundle:
        """The bundle of a model; None is its newest version.

        Raises:
            NotFound: there is no such model or version.
        """

    @abstractmethod
    def graph(self, opened: Bundle, name: str) -> tuple[Graph, Session]:
        """A graph of a bundle, and what runs it.

        Raises:
            NotFound: there is no such graph.
            Failed: it cannot be run here.
        """

    @abstractmethod
    def decoder(self, opened: Bundle, decoder: MultiStepDecoder) -> Session | None:
        """What runs a text model's multi-step decoder; None if each character is a run of its own."""

    def predict(self, model: str, request: PredictRequest) -> Answers:
        """See ``Client.predict``."""
        opened = self.open(model, request.version)
        verb = opened.verb(Predict)
        graph, backend = self.graph(opened, verb.graph)
        notes = answer_notes(opened, request.rows)
        feeds = verb.encode(request.rows)
        graph.check(feeds)
        return Answers(verb.decode(backend.run(feeds)), notes, verb.output_units)

    def predict_table(self, model: str, table: Table, version: int | None) -> AnswerTable:
        """See ``Client.predict_parts``."""
        opened = self.open(model, version)
        verb = opened.verb(Predict)
        graph, backend = self.graph(opened, verb.graph)
        notes = answer_notes(opened, table)
        feeds = verb.encode(table)
        graph.check(feeds)
        return AnswerTable(verb.decode_columns(backend.run(feeds)), notes, verb.output_units)

    def generate(self, model: str, request: GenerateRequest) -> Generator[Piece]:
        """See ``Client.pieces``."""
        opened = self.open(model, request.version)
        verb = opened.verb(Generate)
        graph, backend = self.graph(opened, verb.graph)
        live = text_streams(verb, graph, request)
        outputs = backend.run(live[0].feeds())  # all texts start with the same prompt
        yield from (stream.take(outputs) for stream in live)
        usable = verb.ahead if verb.ahead and request.plain(verb.ahead.likeliest) else None
        ahead = self.decoder(opened, usable) if usable else None
        if usable is None or ahead is None:
            for stream in live:
                yield from stream.write(backend.run)
            return
        while live := [stream for stream in live if not stream.done]:
            feeds = multi_step_feeds(live, usable, len(verb.characters.vocabulary))
            yield from take_multi_step(live, ahead.run(feeds))

    def sample(self, model: str, request: SampleRequest) -> Samples:
        """See ``Client.sample``."""
        opened = self.open(model, request.version)
        verb = opened.verb(Sample)
        graph, backend = self.graph(opened, verb.decode)
        points = requested_points(
            request, verb.latent, self._encode(opened, verb, request.images) if request.images else None
        )
        feeds = dict.fromkeys(graph.inputs, points)
        graph.check(feeds)
        outputs = backend.run(feeds)
        return Samples(points, np.asarray(apply_steps(verb.after, next(iter(outputs.values())))))

    def transform(self, request: TransformRequest, tell: OnProgress) -> np.ndarray:
        """See ``Client.transform``."""
        opened = self.open(request.model, request.version)
        verb = with_parameters(opened.verb(Transform), request.params)

        def run(name: str, feeds: Arrays) -> Arrays:
            graph, backend = self.graph(opened, name)
            graph.check(feeds)
            return backend.run(feeds)

        return transform_with_progress(verb, run, prepare_pictures(verb, request.images), tell)

    def explain(self, model: str, request: ExplainRequest) -> Explanation:
        """See ``Client.explain``."""
        opened = self.open(model, request.version)
        verb, graphs = opened.verb(Predict), opened.manifest.graphs
        check_explains(model, graphs)
        return explain(verb, graphs, self._runner(opened), request.row, request.label)

    def activations(self, model: str, request: ExplainRequest) -> list[Layer]:
        """See ``Client.activations``."""
        opened = self.open(model, request.version)
        verb, graphs = opened.verb(Predict), opened.manifest.graphs
        check_explains(model, graphs)
        return layer_activations(verb, self._runner(opened), request.row, list(graphs[ACTIVATIONS].outputs))

    def filters(self, model: str, version: int | None) -> list[Layer]:
        """See ``Client.filters``."""
        return filter_patterns(self.open(model, version))

    def _encode(self, opened: Bundle, verb: Sample, rows: list[Any]) -> np.ndarray:
        graph, backend = self.graph(opened, encoder_graph(verb, opened.name))
        feeds = encoder_feeds(verb, graph, rows)
        graph.check(feeds)
        return encoded_points(graph, backend.run(feeds))

    def _runner(self, opened: Bundle) -> Run:
        return lambda name, feeds: self.graph(opened, name)[1].run(feeds)

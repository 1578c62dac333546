"""Engine: the only place in the server that runs a model. It knows no protocol; each door translates to and from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from bookserve.api.requests import GenerateRequest, SampleRequest
from bookserve.errors import BookserveError, InvalidInput
from bookserve.generation.latent import encoded_points, encoder_feeds, encoder_graph, requested_points
from bookserve.generation.text import Piece
from bookserve.graph import Arrays
from bookserve.steps import apply_steps
from bookserve.verb import Answer, Generate, Predict, Sample
from serve.batching.request_context import CURRENT, ClientDisconnected, RequestContext
from serve.batching.request_queue import OnResult
from serve.batching.text_scheduler import PAUSE, WHOLE, collect_texts
from serve.models.live_model import LiveModel
from serve.models.model_config import ModelConfig
from serve.models.repository import Repository, VersionStatus
from serve.observability.metrics import Metrics
from serve.observability.statistics import RequestCounts

#: Rows with more bytes of pictures than this are decoded in a thread, so that the event loop goes on.
INLINE_BYTES = 65_536


class Engine:
    """Answers on the level of tensors (``run``) and of people (``predict``, ``generate``, ``sample``)."""

    def __init__(self, repository: Repository, metrics: Metrics) -> None:
        self._repository = repository
        self._metrics = metrics
        #: Whether new requests are welcome: after loading, until the server drains.
        self.ready = False

    def models(self) -> list[LiveModel]:
        """All live models, by name and version."""
        return self._repository.models()

    def model(self, name: str, version: int | None = None, label: str | None = None) -> LiveModel:
        """One live model; see ``Repository.find``."""
        return self._repository.find(name, version, label)

    def names(self) -> list[str]:
        """All models, those included that are not live."""
        return self._repository.names()

    def status(self, name: str) -> list[VersionStatus]:
        """States of a model's versions; see ``Repository.status``."""
        return self._repository.status(name)

    async def index(self) -> list[tuple[str, VersionStatus]]:
        """All versions known or on disk; see ``Repository.index``."""
        return await asyncio.to_thread(self._repository.index)

    def counted(self, model: LiveModel) -> RequestCounts:
        """What was counted of one version since the server began."""
        return self._metrics.statistics.of_version(model.name, model.version)

    async def load(self, name: str) -> None:
        """Load a model that lies in the repository; see ``Repository.load``."""
        await asyncio.to_thread(self._repository.load, name)

    async def unload(self, name: str) -> None:
        """Let go of a model; see ``Repository.unload``."""
        await asyncio.to_thread(self._repository.unload, name)

    async def reload(self, served: Sequence[ModelConfig]) -> None:
        """Serve this list of models and no other; see ``Repository.reload``."""
        await asyncio.to_thread(self._repository.reload, served)

    async def run(self, model: LiveModel, graph: str, feeds: Arrays) -> Arrays:
        """Run one graph ('' and ``serving_default`` mean the default one) in a batch with whatever else waits.

        Raises:
            NotFound: no such graph.
            InvalidInput: the feeds do not fit the graph.
            Overloaded, Failed: see ``Batcher.run``.
        """
        name, spec = model.bundle.graph(graph)
        with _Stopwatch(self._metrics, model, name):
            return await model.run(name, feeds, spec.check(feeds))

    def submit(self, model: LiveModel, graph: str, feeds: Arrays, call: RequestContext, done: OnResult) -> bool:
        """``run`` without a task: ``done`` is told the outputs or the error in a later turn of the event loop.

        The call is given, since there is no task that carries it; see ``Batcher.submit`` for who gives up. False says
        that the model has to be loaded first: only ``run`` can do that, and ``done`` is not called.

        Raises:
            NotFound, InvalidInput, Overloaded: (at the call) see ``run``; ``done`` is not called.
        """
        batchers = model.at_hand()
        if batchers is None:
            return False
        name, spec = model.bundle.graph(graph)
        watch = _Stopwatch(self._metrics, model, name, call)

        def answered(result: Arrays | BookserveError) -> None:
            watch.stop(result if isinstance(result, BookserveError) else None)
            done(result)

        try:
            batchers[name].submit(feeds, spec.check(feeds), call, answered)
        except Exception as error:
            watch.stop(error)
            raise
        return True

    def runner(self, model: LiveModel, loop: asyncio.AbstractEventLoop) -> Callable[[str, Arrays], Arrays]:
        """What runs graphs by name for another thread than the event loop's: it blocks until the loop has done so."""

        def run(graph: str, feeds: Arrays) -> Arrays:
            return asyncio.run_coroutine_threadsafe(self.run(model, graph, feeds), loop).result()

        return run

    async def predict(self, model: LiveModel, rows: list[Any]) -> list[Answer]:
        """Pass raw rows through the model's Steps and graph.

        Raises:
            InvalidInput: a row does not fit, or the model does not predict.
        """
        verb = model.bundle.verb(Predict)
        name, spec = model.bundle.graph(verb.graph)
        with _Stopwatch(self._metrics, model, name):
            if sum(len(row) for row in rows if isinstance(row, bytes)) > INLINE_BYTES:
                feeds = await asyncio.to_thread(verb.encode, rows)
            else:
                feeds = verb.encode(rows)
            return verb.decode(await model.run(name, feeds, spec.check(feeds)))

    def generate(self, model: LiveModel, request: GenerateRequest, pause: float = PAUSE) -> AsyncGenerator[list[Piece]]:
        """Write texts; all that one model writes advance together. Pieces come at least ``pause`` seconds apart.

        Raises:
            InvalidInput: (at the call) the prompt does not fit, or the model does not generate.
            Overloaded: (at the call) the model is writing too many texts already.
        """
        verb = model.bundle.verb(Generate)
        if model.texts is None:
            raise InvalidInput(f"model '{model.name}' does not generate.")
        return self._timed(model, verb.graph, model.texts.write(request, model.run, pause))

    async def write(self, model: LiveModel, request: GenerateRequest) -> list[Piece]:
        """The whole texts that ``generate`` yields in pieces."""
        return await collect_texts(self.generate(model, request, WHOLE), request.n)

    async def _timed(
        self, model: LiveModel, graph: str, pieces: AsyncGenerator[list[Piece]]
    ) -> AsyncGenerator[list[Piece]]:
        with _Stopwatch(self._metrics, model, graph):
            async with aclosing(pieces):
                async for some in pieces:
                    yield some

    async def sample(self, model: LiveModel, request: SampleRequest) -> tuple[np.ndarray, np.ndarray]:
        """Decode points of the latent space: the points float32 [n, d], the pixels uint8 [n, height, width, channels].

        Raises:
            InvalidInput: the points do not fit, or the model does not sample.
        """
        verb = model.bundle.verb(Sample)
        name, spec = model.bundle.graph(verb.decode)
        with _Stopwatch(self._metrics, model, name):
            seen = await self._encode(model, verb, request.images) if request.images else None
            latent = requested_points(request, verb.latent, seen)
            feeds = dict.fromkeys(spec.inputs, latent)
            outputs = await model.run(name, feeds, spec.check(feeds))
            return latent, np.asarray(apply_steps(verb.after, next(iter(outputs.values()))))

    async def _encode(self, model: LiveModel, verb: Sample, rows: list[Any]) -> np.ndarray:
        name, spec = model.bundle.graph(encoder_graph(verb, model.name))
        feeds = await asyncio.to_thread(encoder_feeds, verb, spec, rows)
        return encoded_points(spec, await model.run(name, feeds, spec.check(feeds)))


class _Stopwatch:
    """Counts one request and how long it took, under the code of whatever ended it."""

    def __init__(self, metrics: Metrics, model: LiveModel, graph: str, call: RequestContext | None = None) -> None:
        self._metrics = metrics
        self._labels = model.name, model.version, graph
        self._call = call or CURRENT.get()
        if self._call.trace is not None:
            self._call.trace.set_graph(*self._labels)
        self._start = time.perf_counter()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.stop(error)

    def stop(self, error: BaseException | None) -> None:
        """Count the request as ended."""
        if error is None:
            code = "ok"
        elif isinstance(error, ClientDisconnected | asyncio.CancelledError | GeneratorExit):
            code = "cancelled"
        else:
            code = error.code if isinstance(error, BookserveError) else "failed"
        elapsed = time.perf_counter() - self._start
        self._metrics.count_request(*self._labels, elapsed, code, self._call.protocol)

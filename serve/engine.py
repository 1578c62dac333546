"""The engine runs models: every protocol hands its requests to it. It knows no protocol itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from bookserve.api.requests import MAX_ROWS, GenerateRequest, SampleRequest
from bookserve.bundle.notes import answer_notes, takes_long
from bookserve.errors import BookserveError, InvalidInput
from bookserve.generation.latent import encoded_points, encoder_feeds, encoder_graph, requested_points
from bookserve.generation.prompt import prompt_log_probabilities
from bookserve.generation.text import Drawn, Piece
from bookserve.graph import Arrays
from bookserve.steps import apply_steps
from bookserve.table import Table
from bookserve.verb import Answer, AnswerColumns, Generate, Note, Predict, Sample
from serve.batching.request_queue import OnResult
from serve.batching.text_scheduler import PAUSE, WHOLE, collect_texts
from serve.models.live_model import LiveModel
from serve.models.model_config import ModelConfig
from serve.models.repository import Repository, VersionStatus
from serve.observability.metrics import Metrics
from serve.observability.statistics import RequestCounts
from serve.request_context import CURRENT, ClientDisconnected, RequestContext

#: More rows than this are decoded in a thread.
INLINE_ROWS = 1000
#: Bytes of the tensors of one answer, if nothing else is set.
MAX_ANSWER = 2**30


class Engine:
    """Runs graphs on tensors (``run``, ``submit``), and models on raw rows (``predict``, ``generate``, ``sample``)."""

    def __init__(self, repository: Repository, metrics: Metrics, max_answer: int = MAX_ANSWER) -> None:
        self._repository = repository
        self._metrics = metrics
        #: Bytes of the tensors of one answer at most.
        self.max_answer = max_answer
        #: Whether the server is ready for requests: from the end of loading until it drains.
        self.ready = False

    def models(self) -> list[LiveModel]:
        """All live models, by name and version."""
        return self._repository.models()

    def model(self, name: str, version: int | None = None, label: str | None = None) -> LiveModel:
        """One live model; see ``Repository.find``."""
        return self._repository.find(name, version, label)

    def names(self) -> list[str]:
        """All models, also those that are not live."""
        return self._repository.names()

    def status(self, name: str) -> list[VersionStatus]:
        """States of a model's versions; see ``Repository.status``."""
        return self._repository.status(name)

    def labels(self, name: str) -> dict[str, int]:
        """The version labels of a model; see ``Repository.labels``."""
        return self._repository.labels(name)

    async def index(self) -> list[tuple[str, VersionStatus]]:
        """All versions known or on disk; see ``Repository.index``."""
        return await asyncio.to_thread(self._repository.index)

    def counted(self, model: LiveModel) -> RequestCounts:
        """The counts of one version since the server started."""
        return self._metrics.statistics.of_version(model.name, model.version)

    async def load(self, name: str) -> None:
        """Load a model of the repository; see ``Repository.load``."""
        await asyncio.to_thread(self._repository.load, name)

    async def unload(self, name: str) -> None:
        """Unload a model; see ``Repository.unload``."""
        await asyncio.to_thread(self._repository.unload, name)

    async def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serve the models of this list and no others; see ``Repository.reload``."""
        await asyncio.to_thread(self._repository.reload, configs)

    def check_answer(self, outputs: Iterable[np.ndarray]) -> None:
        """Refuse an answer of more than ``max_answer`` bytes; a string counts as its reference.

        Raises:
            InvalidInput: the answer is larger.
        """
        size = sum(array.nbytes for array in outputs)
        if size > self.max_answer:
            raise InvalidInput(
                f"the answer would hold {size:,} bytes of tensors; at most {self.max_answer:,} are sent.",
                "Ask for fewer rows or outputs in one request; the operator can raise --max-answer.",
            )

    async def run(self, model: LiveModel, graph: str, feeds: Arrays, any_shape: bool = False) -> Arrays:
        """Run one graph ('' and ``serving_default`` mean the default one) in a batch with other requests.

        With ``any_shape`` it is run alone, and not the declared shapes but its runtime decides which feeds it takes.

        Raises:
            NotFound: no such graph.
            InvalidInput: the feeds do not fit the graph.
            NotReady: the model had to be loaded first, and could not be.
            Overloaded, Failed: see ``Batcher.run``.
        """
        name, rows, measured = self._start(model, graph, feeds, CURRENT.get(), any_shape)
        with measured:
            return await model.run(name, feeds, rows, any_shape)

    def submit(self, model: LiveModel, graph: str, feeds: Arrays, context: RequestContext, on_result: OnResult) -> bool:
        """``run`` for callers without a task: ``on_result`` gets the outputs or the error in a later turn of the loop.

        ``run`` is not a future over this method: a cancelled task must end a composite's runs at once, and a model that
        is not in memory is loaded in a task.

        Returns False if the model is not in memory: then ``on_result`` is not called, and ``run`` has to load it. See
        ``Batcher.submit`` for callers that leave.

        Raises:
            NotFound, InvalidInput, Overloaded: (at the call) see ``run``; ``on_result`` is not called.
        """
        batchers = model.batchers_in_memory()
        if batchers is None:
            return False
        name, rows, measured = self._start(model, graph, feeds, context)

        def finish(result: Arrays | BookserveError) -> None:
            measured.stop(result if isinstance(result, BookserveError) else None)
            on_result(result)

        try:
            batchers[name].submit(feeds, rows, context, finish)
        except Exception as error:
            measured.stop(error)
            raise
        return True

    def _start(
        self, model: LiveModel, graph: str, feeds: Arrays, context: RequestContext, any_shape: bool = False
    ) -> tuple[str, int, _MeasuredRequest]:
        """Begin to measure a request and check its feeds: the graph's proper name, the rows, and what measures.

        Raises:
            NotFound, InvalidInput: see ``run``.
        """
        name, spec = model.bundle.graph(graph)
        measured = _MeasuredRequest(self._metrics, model, name, context)
        try:
            rows = (spec.of_any_shape() if any_shape else spec).check(feeds)
            if model.row_limit:
                model.check_rows(rows)
            return name, rows, measured
        except InvalidInput as error:
            measured.stop(error)
            raise

    def runner(self, model: LiveModel, loop: asyncio.AbstractEventLoop) -> Callable[[str, Arrays], Arrays]:
        """A function that runs graphs by name, for other threads than the event loop's.

        It blocks until ``loop`` has run the graph.
        """

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
        with _MeasuredRequest(self._metrics, model, name, CURRENT.get()):
            if sum(len(row) for row in rows if isinstance(row, bytes)) > verb.inline_bytes:
                feeds = await asyncio.to_thread(verb.encode, rows)
            else:
                feeds = verb.encode(rows)
            model.check_rows(len(rows))
            outputs = await model.run(name, feeds, spec.check(feeds))
            self.check_answer(outputs.values())
            if len(rows) > INLINE_ROWS:  # a row becomes several objects
                return await asyncio.to_thread(verb.decode, outputs)
            return verb.decode(outputs)

    async def answer_notes(self, model: LiveModel, rows: list[Any]) -> list[Note]:
        """Notes on the answers to ``rows``; see ``bookserve.bundle.notes``.

        Raises:
            InvalidInput: the model knows no word of any row.
        """
        if takes_long(model.bundle, rows):
            return await asyncio.to_thread(answer_notes, model.bundle, rows)
        return answer_notes(model.bundle, rows)

    async def predict_table(self, model: LiveModel, table: Table) -> AnswerColumns:
        """``predict`` for rows kept by columns. Raises as it does."""
        verb = model.bundle.verb(Predict)
        name, spec = model.bundle.graph(verb.graph)
        if len(table) > MAX_ROWS:
            raise InvalidInput(
                f"the table has {len(table):,} rows; expected at most {MAX_ROWS:,}.", "Send it in parts."
            )
        with _MeasuredRequest(self._metrics, model, name, CURRENT.get()):
            model.check_rows(len(table))
            feeds = await asyncio.to_thread(verb.encode, table)
            outputs = await model.run(name, feeds, spec.check(feeds))
            self.check_answer(outputs.values())
            return await asyncio.to_thread(verb.decode_columns, outputs)

    def generate(self, model: LiveModel, request: GenerateRequest, pause: float = PAUSE) -> AsyncGenerator[list[Piece]]:
        """Write texts; all texts of one model advance together. Pieces come at least ``pause`` seconds apart.

        Raises:
            InvalidInput: (at the call) the prompt does not fit, or the model does not generate.
            Overloaded: (at the call) the model is writing too many texts already.
        """
        verb = model.bundle.verb(Generate)
        if model.scheduler is None:
            raise InvalidInput(f"model '{model.name}' does not generate.")
        return self._measure(model, verb.graph, model.scheduler.write(request, model.run, pause))

    async def score_prompt(self, model: LiveModel, prompt: str, count: int) -> list[Drawn]:
        """The log-probability of each character of a prompt but the first; see ``prompt_log_probabilities``.

        Raises:
            InvalidInput: the prompt does not fit, or the model does not generate.
        """
        verb = model.bundle.verb(Generate)
        name, spec = model.bundle.graph(verb.graph)
        scoring = prompt_log_probabilities(verb, spec, prompt, count)
        with _MeasuredRequest(self._metrics, model, name, CURRENT.get()):
            try:
                feeds = next(scoring)
                while True:
                    feeds = scoring.send(await model.run(name, feeds, len(feeds["characters"])))
            except StopIteration as end:
                return list(end.value)

    async def write(self, model: LiveModel, request: GenerateRequest) -> list[Piece]:
        """The complete texts that ``generate`` yields in pieces."""
        return await collect_texts(self.generate(model, request, WHOLE), request.n)

    async def _measure(
        self, model: LiveModel, graph: str, pieces: AsyncGenerator[list[Piece]]
    ) -> AsyncGenerator[list[Piece]]:
        with _MeasuredRequest(self._metrics, model, graph, CURRENT.get()):
            async with aclosing(pieces):
                async for group in pieces:
                    yield group

    async def sample(self, model: LiveModel, request: SampleRequest) -> tuple[np.ndarray, np.ndarray]:
        """Decode points of the latent space: the points float32 [n, d], the pixels uint8 [n, height, width, channels].

        Raises:
            InvalidInput: the points do not fit, or the model does not sample.
        """
        verb = model.bundle.verb(Sample)
        name, spec = model.bundle.graph(verb.decode)
        with _MeasuredRequest(self._metrics, model, name, CURRENT.get()):
            encoded_images = await self._encode(model, verb, request.images) if request.images else None
            latent = requested_points(request, verb.latent, encoded_images)
            feeds = dict.fromkeys(spec.inputs, latent)
            outputs = await model.run(name, feeds, spec.check(feeds))
            return latent, np.asarray(apply_steps(verb.after, next(iter(outputs.values()))))

    async def _encode(self, model: LiveModel, verb: Sample, rows: list[Any]) -> np.ndarray:
        name, spec = model.bundle.graph(encoder_graph(verb, model.name))
        feeds = await asyncio.to_thread(encoder_feeds, verb, spec, rows)
        return encoded_points(spec, await model.run(name, feeds, spec.check(feeds)))


class _MeasuredRequest:
    """Counts one request and how long it took, under the code of its result."""

    def __init__(self, metrics: Metrics, model: LiveModel, graph: str, context: RequestContext) -> None:
        self._metrics = metrics
        self._labels = model.name, model.version, graph
        self._context = context
        if context.trace is not None:
            context.trace.set_graph(*self._labels)
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
        self._metrics.count_request(*self._labels, elapsed, code, self._context.protocol)

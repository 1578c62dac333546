"""Schedules the texts that one model is writing, so that they advance together (continuous batching).

A text reads its prompt in a run of its own (or with others that came at the same moment, or not at all if the same
prompt was read lately) and draws its first character there. After that, plain texts share runs that draw several
characters for each of them; a text joins before any run and leaves after any run. Texts that need the probabilities
themselves, for log-probabilities or because they read the window anew, ask for one step at a time, and the batcher runs
together what waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import Context

from bookserve.api.requests import GenerateRequest
from bookserve.bundle import MULTI_STEP, Bundle
from bookserve.errors import BookserveError, Overloaded
from bookserve.generation.text import (
    Piece,
    TextStream,
    join_pieces,
    join_texts,
    multi_step_feeds,
    take_multi_step,
    text_streams,
)
from bookserve.graph import Arrays, Graph
from bookserve.verb import Generate, MultiStepDecoder

#: Texts of one model that may be written at the same time.
MAX_LIVE = 1024
#: Prompts whose state is kept: many texts begin alike, and reading sixty characters costs as much as writing ten.
PROMPTS = 256
#: Seconds for which texts in progress let new requests and answers go first before each run, and how long a turn of the
#: event loop takes in which there were none.
PATIENCE, IDLE = 0.004, 1e-4
#: Seconds between two pieces of a streamed text: fifty a second look smooth, and sending costs far more than drawing.
PAUSE = 0.02
#: Pieces a second that one model sends in all: when it writes many texts, each comes in larger pieces.
SENDS = 2000

#: The pause for a text that is not streamed: it comes when it is complete.
WHOLE = float("inf")

#: Runs a graph by name on checked feeds with that many rows: ``LiveModel.run``.
Run = Callable[[str, Arrays, int], Awaitable[Arrays]]


class TextScheduler:
    """The texts that one bundle is writing."""

    def __init__(self, verb: Generate, graph: Graph) -> None:
        """``graph`` is the step graph."""
        self._verb = verb
        self._graph = graph
        #: The texts that share runs, and where their pieces go.
        self._joined: dict[TextStream, _PieceBuffer] = {}
        #: The outputs of the step graph for the prompts that were read last, by their characters.
        self._primed: dict[bytes, Arrays] = {}
        self._driver: asyncio.Task[None] | None = None
        #: How many texts are being written now.
        self.live = 0

    @classmethod
    def for_bundle(cls, bundle: Bundle) -> TextScheduler | None:
        """The scheduler of a bundle that writes texts; None for other bundles."""
        verb = bundle.manifest.verb
        return cls(verb, bundle.manifest.graphs[verb.graph]) if isinstance(verb, Generate) else None

    def write(self, request: GenerateRequest, run: Run, pause: float) -> AsyncGenerator[list[Piece]]:
        """Yield the new pieces of the request's texts: at once when they begin and end, else ``pause`` seconds apart.

        Closing the generator ends its texts at once.

        Raises:
            InvalidInput: (at the call) the prompt does not fit the model.
            Overloaded: (at the call) too many texts are being written.
            Failed: (while writing) the model could not be run.
        """
        if self.live + request.n > MAX_LIVE:
            raise Overloaded(f"this model is writing {self.live:,} texts already.", "Try again shortly.")
        ahead = self._verb.ahead
        if ahead and not request.plain(ahead.likeliest):
            ahead = None
        return self._write(text_streams(self._verb, self._graph, request), ahead, run, pause)

    async def _write(
        self, live: list[TextStream], ahead: MultiStepDecoder | None, run: Run, pause: float
    ) -> AsyncGenerator[list[Piece]]:
        buffer = _PieceBuffer()
        texts = len(live)
        self.live += texts
        try:
            outputs = await self._prime(live[0].feeds(), run)
            buffer.put([stream.take(outputs) for stream in live])
            yield buffer.collect(pause)
            live = [stream for stream in live if not stream.done]
            if ahead:
                self._join(live, buffer, ahead, run)
            while live:
                if ahead:
                    await buffer.wait_until_due()
                else:
                    runs = await asyncio.gather(*(run(self._verb.graph, stream.feeds(), 1) for stream in live))
                    buffer.put([stream.take(outputs) for stream, outputs in zip(live, runs, strict=True)])
                live = [stream for stream in live if not stream.done]
                if (buffer.is_due or not live) and (pieces := buffer.collect(max(pause, self.live / SENDS))):
                    yield pieces
        finally:
            self.live -= texts
            for stream in live:
                self._joined.pop(stream, None)

    async def _prime(self, feeds: Arrays, run: Run) -> Arrays:
        """Read a prompt. The same characters give the same outputs, so those of the last prompts are kept."""
        prompt = feeds["characters"].tobytes()
        outputs = self._primed.pop(prompt, None)
        if outputs is None:
            outputs = await run(self._verb.graph, feeds, 1)
            # Copies, since they may be parts of the arrays of a whole batch.
            outputs = {name: array.copy() for name, array in outputs.items()}
        self._primed[prompt] = outputs  # the latest stands last
        if len(self._primed) > PROMPTS:
            del self._primed[next(iter(self._primed))]
        return outputs

    def _join(self, live: list[TextStream], buffer: _PieceBuffer, ahead: MultiStepDecoder, run: Run) -> None:
        buffer.live += len(live)
        self._joined.update(dict.fromkeys(live, buffer))
        if self._driver is None and live:
            # In a context of its own: the runs are shared, and must not end with the client that started them.
            self._driver = asyncio.get_running_loop().create_task(self._drive(ahead, run), context=Context())

    async def _drive(self, ahead: MultiStepDecoder, run: Run) -> None:
        """Advance all texts that have joined, until there are none."""
        try:
            while self._joined:
                await _let_requests_go_first()
                if live := list(self._joined):  # all may have been given up meanwhile
                    await self._advance(live, ahead, run)
        except Exception as error:
            if not isinstance(error, BookserveError):
                logging.getLogger("bookserve").exception("texts ended early")
            for buffer in set(self._joined.values()):
                buffer.fail(error)
            self._joined.clear()
        finally:
            self._driver = None

    async def _advance(self, live: list[TextStream], ahead: MultiStepDecoder, run: Run) -> None:
        feeds = multi_step_feeds(live, ahead, len(self._verb.characters.vocabulary))
        outputs = await run(MULTI_STEP, feeds, len(live))
        changed = set()
        for stream, piece in zip(live, take_multi_step(live, outputs), strict=True):
            buffer = self._joined.get(stream)
            if buffer is None:
                continue  # given up during the run
            buffer.put([piece])
            changed.add(buffer)
            if stream.done:
                del self._joined[stream]
                buffer.live -= 1
        now = time.monotonic()
        for buffer in changed:
            buffer.wake(now)


async def collect_texts(written: AsyncGenerator[list[Piece]], n: int) -> list[Piece]:
    """The ``n`` complete texts."""
    async with aclosing(written):
        return join_texts([piece async for pieces in written for piece in pieces], n)


async def _let_requests_go_first() -> None:
    """Let the event loop turn until it has nothing else to do: new texts should not wait for those in progress."""
    now = time.monotonic()
    end = now + PATIENCE
    while now < end:
        await asyncio.sleep(0)
        last, now = now, time.monotonic()
        if now < last + IDLE:
            return


class _PieceBuffer:
    """Pieces that were written for one request and not yet taken."""

    def __init__(self) -> None:
        #: Texts of the request that are still in shared runs.
        self.live = 0
        self._next = float("-inf")
        self._pieces: dict[int, list[Piece]] = {}
        self._waiting: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    @property
    def is_due(self) -> bool:
        """Whether the pause since the last pieces is over."""
        return time.monotonic() >= self._next

    def put(self, pieces: list[Piece]) -> None:
        """Add pieces; ``wake`` then resumes the request."""
        for piece in pieces:
            self._pieces.setdefault(piece.index, []).append(piece)

    def collect(self, pause: float) -> list[Piece]:
        """Take all pieces, merged into one for each text; the next are due after ``pause`` seconds."""
        merged = [join_pieces(pieces) for pieces in self._pieces.values()]
        self._pieces = {}
        self._next = time.monotonic() + pause
        return [piece for piece in merged if piece.text or piece.finish]

    def wake(self, now: float) -> None:
        """Resume the request that waits, if its pieces are due or all its texts have ended."""
        if self._waiting and not self._waiting.done() and (now >= self._next or not self.live):
            self._waiting.set_result(None)

    def fail(self, error: Exception) -> None:
        """Resume the request that waits with an error: nothing more will come."""
        self._error = error
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait_until_due(self) -> None:
        """Wait until there are pieces to take and they are due.

        Raises:
            Failed, Overloaded: nothing more will come.
        """
        if self.live and not self._error:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._error:
            raise self._error

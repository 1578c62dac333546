"""Texts: all live texts of one model, which advance together.

A text reads its prompt in a run of its own (or with others that came at the same moment, or not at all where the same
prompt was read lately) and draws its first character there. After that, plain texts share runs that draw several
characters for each of them; a text joins before any run and leaves after any run. Texts that need the probabilities
themselves – for log-probabilities or the window read anew – ask for one step at a time, and the batcher runs what waits
together.
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
#: Prompts that are remembered: many texts begin alike, and reading sixty characters costs as much as writing ten.
PROMPTS = 256
#: Seconds that texts under way let requests and answers go first before each run, and how long a turn of the event loop
#: takes in which there were none.
PATIENCE, IDLE = 0.004, 1e-4
#: Seconds between two pieces of a text that somebody watches: fifty a second are smooth to an eye, and sending costs
#: far more than drawing.
PAUSE = 0.02
#: Pieces a second that one model sends in all: where many texts are written, each comes in larger pieces.
SENDS = 2000

#: The pause for a text that is wanted whole: it comes when it is done.
WHOLE = float("inf")

#: Runs a graph by its proper name on checked feeds of so many rows: ``LiveModel.run``.
Run = Callable[[str, Arrays, int], Awaitable[Arrays]]


class TextScheduler:
    """The live texts of one bundle."""

    def __init__(self, verb: Generate, graph: Graph) -> None:
        """``graph`` is the step graph."""
        self._verb = verb
        self._graph = graph
        self._joined: dict[TextStream, _Outlet] = {}
        #: What the step graph gave for the prompts that were read last, by their characters.
        self._primed: dict[bytes, Arrays] = {}
        self._driver: asyncio.Task[None] | None = None
        #: How many texts are being written now.
        self.live = 0

    @classmethod
    def of(cls, bundle: Bundle) -> TextScheduler | None:
        """Those of a bundle that writes; None for others."""
        verb = bundle.manifest.verb
        return cls(verb, bundle.manifest.graphs[verb.graph]) if isinstance(verb, Generate) else None

    def write(self, request: GenerateRequest, run: Run, pause: float) -> AsyncGenerator[list[Piece]]:
        """Yield what was added to the request's texts: at once when they begin and end, else ``pause`` seconds apart.

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
        outlet = _Outlet()
        texts = len(live)
        self.live += texts
        try:
            outputs = await self._prime(live[0].feeds(), run)
            outlet.put([stream.take(outputs) for stream in live])
            yield outlet.collect(pause)
            live = [stream for stream in live if not stream.done]
            if ahead:
                self._join(live, outlet, ahead, run)
            while live:
                if ahead:
                    await outlet.due()
                else:
                    runs = await asyncio.gather(*(run(self._verb.graph, stream.feeds(), 1) for stream in live))
                    outlet.put([stream.take(outputs) for stream, outputs in zip(live, runs, strict=True)])
                live = [stream for stream in live if not stream.done]
                if (outlet.is_due or not live) and (pieces := outlet.collect(max(pause, self.live / SENDS))):
                    yield pieces
        finally:
            self.live -= texts
            for stream in live:
                self._joined.pop(stream, None)

    async def _prime(self, feeds: Arrays, run: Run) -> Arrays:
        """Read a prompt, or remember what came of it: the same characters give the same numbers."""
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

    def _join(self, live: list[TextStream], outlet: _Outlet, ahead: MultiStepDecoder, run: Run) -> None:
        outlet.live += len(live)
        self._joined.update(dict.fromkeys(live, outlet))
        if self._driver is None and live:
            # In a context of its own: the runs are everybody's, and must not end with the client that began them.
            self._driver = asyncio.get_running_loop().create_task(self._drive(ahead, run), context=Context())

    async def _drive(self, ahead: MultiStepDecoder, run: Run) -> None:
        """Advance all texts that have joined, as long as there are any."""
        try:
            while self._joined:
                await _give_way()
                await self._advance(list(self._joined), ahead, run)
        except Exception as error:
            if not isinstance(error, BookserveError):
                logging.getLogger("bookserve").exception("texts broke off")
            for outlet in set(self._joined.values()):
                outlet.fail(error)
            self._joined.clear()
        finally:
            self._driver = None

    async def _advance(self, live: list[TextStream], ahead: MultiStepDecoder, run: Run) -> None:
        feeds = multi_step_feeds(live, ahead, len(self._verb.characters.vocabulary))
        outputs = await run(MULTI_STEP, feeds, len(live))
        told = set()
        for stream, piece in zip(live, take_multi_step(live, outputs), strict=True):
            outlet = self._joined.get(stream)
            if outlet is None:
                continue  # given up during the run
            outlet.put([piece])
            told.add(outlet)
            if stream.done:
                del self._joined[stream]
                outlet.live -= 1
        now = time.monotonic()
        for outlet in told:
            outlet.tell(now)


async def collect_texts(written: AsyncGenerator[list[Piece]], n: int) -> list[Piece]:
    """The ``n`` whole texts that are written."""
    async with aclosing(written):
        return join_texts([piece async for pieces in written for piece in pieces], n)


async def _give_way() -> None:
    """Let the loop turn until it has nothing else to do: new texts shall not wait for runs of those under way."""
    now = time.monotonic()
    end = now + PATIENCE
    while now < end:
        await asyncio.sleep(0)
        last, now = now, time.monotonic()
        if now < last + IDLE:
            return


class _Outlet:
    """What was written for one request and not yet taken."""

    def __init__(self) -> None:
        #: Texts that are still being written ahead.
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
        """Add pieces; ``tell`` wakes whoever waits for them."""
        for piece in pieces:
            self._pieces.setdefault(piece.index, []).append(piece)

    def collect(self, pause: float) -> list[Piece]:
        """Take everything, one piece for each text; the next is due after ``pause`` seconds."""
        merged = [join_pieces(pieces) for pieces in self._pieces.values()]
        self._pieces = {}
        self._next = time.monotonic() + pause
        return [piece for piece in merged if piece.text or piece.finish]

    def tell(self, now: float) -> None:
        """Wake whoever waits, if it is time or all texts have ended."""
        if self._waiting and not self._waiting.done() and (now >= self._next or not self.live):
            self._waiting.set_result(None)

    def fail(self, error: Exception) -> None:
        """Let whoever waits know that nothing more will come."""
        self._error = error
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    async def due(self) -> None:
        """Wait until there is something to take and it is time to.

        Raises:
            Failed, Overloaded: nothing more will come.
        """
        if self.live and not self._error:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._error:
            raise self._error

"""Text: texts being written, one character at a time, by a graph that gives probabilities of the next one.

Nothing here runs a graph. Whoever does – a trainer's callback, the local client, the server – loops
``take(run(feeds()))`` for one text, or ``take_ahead(run(ahead_feeds()))`` for many texts and several characters at
once. Both ways draw with the same arithmetic from the same numbers, so a seed gives one text everywhere, alone and
among others: ONNX Runtime's rows do not depend on how many there are
(``tests/export/convert/test_multi_step_decoder.py`` holds it to that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from bookserve.api.requests import GenerateRequest
from bookserve.generation.sampling import draw_index, keep_likeliest, noise_weights
from bookserve.graph import Arrays, Graph, numpy_dtype
from bookserve.verb import Drawn as Drawn
from bookserve.verb import Generate, MultiStepDecoder
from bookserve.verb import Piece as Piece

#: Stands for probabilities of nought, whose logarithm JSON could not carry.
_LEAST = 1e-45


class TextStream:
    """One text being written: says what to feed the step graph next and takes what came out.

    Characters that may yet turn out to begin a stop string are held back until they do not.
    """

    def __init__(self, verb: Generate, graph: Graph, request: GenerateRequest, ids: np.ndarray, index: int) -> None:
        """``ids`` int32 [characters] are the prompt's; see ``streams``."""
        self.index = index
        self.done = False
        self._request = request
        self._entries = verb.characters.vocabulary.entries
        self._stops = [verb.characters.fold(stop) for stop in request.stop]
        self._window = verb.window
        self._left = request.length
        self._rng = np.random.default_rng(None if request.seed is None else request.seed + index)
        self._held = ""
        self._held_drawn: tuple[Drawn, ...] = ()
        self._characters = ids[None, -verb.window :]
        self._states = {
            name: np.zeros([1, *spec.sizes()[1:]], numpy_dtype(spec.dtype))
            for name, spec in graph.inputs.items()
            if name != "characters"
        }

    def feeds(self) -> Arrays:
        """Inputs of the next run, for a batch of one: first the prompt, then each character as it was drawn (or, where
        the window is read anew, always the last characters and no state)."""
        return {"characters": self._characters, **self._states}

    def take(self, outputs: Arrays) -> Piece:
        """Accept the outputs of that run and draw the next character."""
        request = self._request
        probabilities = outputs["probabilities"][0]
        index = draw_index(keep_likeliest(probabilities, request.top_k, request.top_p), request.temperature, self._rng)
        if request.mode == "state":
            self._states = {name: outputs[f"next_{name}"] for name in self._states}
        drawn = () if request.logprobs is None else (self._tell(probabilities, index, request.logprobs),)
        return self._add([index], drawn)

    @property
    def bounds(self) -> tuple[int | None, float]:
        """``top_k`` and ``top_p``."""
        return self._request.top_k, self._request.top_p

    def noise(self, into: np.ndarray) -> float:
        """Fill float64 [steps, vocabulary] with what the next ``steps`` draws take from the generator; return the
        temperature."""
        if self._request.temperature:
            self._rng.standard_exponential(out=into)
        else:
            into.fill(1)
        return self._request.temperature

    def take_ahead(self, ids: list[int], states: Arrays) -> Piece:
        """Accept characters that a graph drew with that noise, and the states after the last of them."""
        self._states = states
        return self._add(ids, ())

    def write(self, run: Callable[[Arrays], Arrays]) -> Iterator[Piece]:
        """Yield the text as it comes, running the step graph with ``run``."""
        while not self.done:
            yield self.take(run(self.feeds()))

    def _add(self, ids: list[int], drawn: tuple[Drawn, ...]) -> Piece:
        if self._request.mode == "state":
            self._characters = np.array([ids[-1:]], np.int32)
        else:
            self._characters = np.append(self._characters, np.array([ids], np.int32), axis=1)[:, -self._window :]
        ids = ids[: self._left]
        self._left -= len(ids)
        text = self._held + "".join([self._entries[index] for index in ids])
        drawn = self._held_drawn + drawn
        finish = "" if self._left else "length"
        released = len(text)
        if self._stops:
            cut = _stop(text, self._stops)
            if cut is not None:
                released, finish = cut, "stop"
            elif not finish:
                released -= _beginning(text, self._stops)
            self._held, self._held_drawn = text[released:], drawn[released:]
        self.done = bool(finish)
        return Piece(text[:released], self.index, finish, drawn[:released])

    def _tell(self, probabilities: np.ndarray, index: int, count: int) -> Drawn:
        logs = np.log(np.maximum(probabilities, _LEAST, dtype=np.float64))
        best = np.argsort(-probabilities, kind="stable")[:count].tolist()
        top = tuple((self._entries[place], float(logs[place])) for place in best)
        return Drawn(self._entries[index], float(logs[index]), top)


def text_streams(verb: Generate, graph: Graph, request: GenerateRequest) -> list[TextStream]:
    """The ``n`` texts of a request; they begin with the same feeds.

    Raises:
        InvalidInput: the prompt holds characters the model never saw.
    """
    ids = verb.characters([request.prompt or verb.prompt])[0]
    return [TextStream(verb, graph, request, ids, index) for index in range(request.n)]


def multi_step_feeds(live: Sequence[TextStream], ahead: MultiStepDecoder, vocabulary: int) -> Arrays:
    """Inputs of the graph that draws several characters, for texts whose prompts have been read."""
    noise = np.empty((len(live), ahead.steps, vocabulary))
    temperatures = np.array([stream.noise(row) for stream, row in zip(live, noise, strict=True)])
    rows = [stream.feeds() for stream in live]
    feeds = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    feeds["noise"] = noise_weights(noise, temperatures[:, None, None])
    if ahead.likeliest:
        bounds = [stream.bounds for stream in live]
        feeds["top_k"] = np.array([[vocabulary if top_k is None else top_k] for top_k, _ in bounds], np.int64)
        # Where all may be drawn, even those after a sum that rounding made 1 or more.
        feeds["top_p"] = np.array([[top_p if top_p < 1 else 2] for _, top_p in bounds], np.float64)
    return feeds


def take_multi_step(live: Sequence[TextStream], outputs: Arrays) -> list[Piece]:
    """Hand each text what such a run drew for it."""
    states = {name.removeprefix("next_"): array for name, array in outputs.items() if name != "drawn"}
    return [
        stream.take_ahead(ids, {name: array[row : row + 1] for name, array in states.items()})
        for row, (stream, ids) in enumerate(zip(live, outputs["drawn"].tolist(), strict=True))
    ]


def join_texts(pieces: Iterable[Piece], n: int) -> list[Piece]:
    """The ``n`` whole texts that pieces make up."""
    texts: list[list[Piece]] = [[] for _ in range(n)]
    for piece in pieces:
        texts[piece.index].append(piece)
    return [join_pieces(text) for text in texts]


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Consecutive pieces of one text as one."""
    last = pieces[-1]
    if len(pieces) == 1:
        return last
    drawn = tuple(drawn for piece in pieces for drawn in piece.drawn)
    return Piece("".join([piece.text for piece in pieces]), last.index, last.finish, drawn)


def _stop(text: str, stops: list[str]) -> int | None:
    """Where the first stop string to be complete begins."""
    ends = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    return min(ends)[1] if ends else None


def _beginning(text: str, stops: list[str]) -> int:
    """How many characters at the end of ``text`` may begin a stop string."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest

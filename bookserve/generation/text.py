"""Generate texts one character at a time, with a graph that returns the probabilities of the next character.

Nothing here runs a graph. The caller (a trainer's callback, the local client or the server) loops
``take(run(feeds()))`` for one text, or ``take_multi_step(run(multi_step_feeds()))`` for many texts and several
characters per run. Both use the same arithmetic and the same random numbers. So a seed gives the same text everywhere,
alone or in a batch, because ONNX Runtime computes a row independently of the number of rows
(``tests/export/convert/test_multi_step_decoder.py`` checks that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from bookserve.api.requests import GenerateRequest
from bookserve.generation.prompt import log_probabilities
from bookserve.generation.sampling import draw_index, keep_likeliest, noise_weights
from bookserve.graph import Arrays, Graph, numpy_dtype
from bookserve.verb import Drawn as Drawn
from bookserve.verb import Generate, MultiStepDecoder
from bookserve.verb import Piece as Piece


class TextStream:
    """The state of one text: gives the inputs of the next run of the step graph and takes its outputs.

    Characters that may be the beginning of a stop string are held back until that is known.
    """

    def __init__(self, verb: Generate, graph: Graph, request: GenerateRequest, ids: np.ndarray, index: int) -> None:
        """``ids`` int32 [characters] are those of the prompt; see ``text_streams``."""
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
        """Inputs of the next run, with batch size 1: first the prompt, then each new character.

        In the mode ``window`` they are always the last characters, without a state.
        """
        return {"characters": self._characters, **self._states}

    def take(self, outputs: Arrays) -> Piece:
        """Take the outputs of that run and draw the next character."""
        request = self._request
        probabilities = outputs["probabilities"][0]
        index = draw_index(keep_likeliest(probabilities, request.top_k, request.top_p), request.temperature, self._rng)
        if request.mode == "state":
            self._states = {name: outputs[f"next_{name}"] for name in self._states}
        if request.logprobs is None:
            return self._add([index], ())
        return self._add([index], (log_probabilities(probabilities, index, request.logprobs, self._entries),))

    @property
    def bounds(self) -> tuple[int | None, float]:
        """``top_k`` and ``top_p``."""
        return self._request.top_k, self._request.top_p

    def noise(self, into: np.ndarray) -> float:
        """Fill ``into`` float64 [steps, vocabulary] with the random numbers of the next ``steps`` characters.

        Returns the temperature.
        """
        if self._request.temperature:
            self._rng.standard_exponential(out=into)
        else:
            into.fill(1)
        return self._request.temperature

    def take_ahead(self, ids: list[int], states: Arrays) -> Piece:
        """Take characters that a graph generated with that noise, and the states after the last of them."""
        self._states = states
        return self._add(ids, ())

    def write(self, run: Callable[[Arrays], Arrays]) -> Iterator[Piece]:
        """Yield the text piece by piece, running the step graph with ``run``."""
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
            cut = _find_stop(text, self._stops)
            if cut is not None:
                released, finish = cut, "stop"
            elif not finish:
                released -= _possible_stop_length(text, self._stops)
            self._held, self._held_drawn = text[released:], drawn[released:]
        self.done = bool(finish)
        return Piece(text[:released], self.index, finish, drawn[:released])


def text_streams(verb: Generate, graph: Graph, request: GenerateRequest) -> list[TextStream]:
    """The ``n`` texts of a request; their first inputs are the same.

    Raises:
        InvalidInput: the prompt has characters that the model does not know.
    """
    ids = verb.characters([request.prompt or verb.prompt])[0]
    return [TextStream(verb, graph, request, ids, index) for index in range(request.n)]


def multi_step_feeds(live: Sequence[TextStream], ahead: MultiStepDecoder, vocabulary: int) -> Arrays:
    """Inputs of the multi-step decoder, for texts whose prompts have been read."""
    noise = np.empty((len(live), ahead.steps, vocabulary))
    temperatures = np.array([stream.noise(row) for stream, row in zip(live, noise, strict=True)])
    rows = [stream.feeds() for stream in live]
    feeds = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    feeds["noise"] = noise_weights(noise, temperatures[:, None, None])
    if ahead.likeliest:
        bounds = [stream.bounds for stream in live]
        feeds["top_k"] = np.array([[vocabulary if top_k is None else top_k] for top_k, _ in bounds], np.int64)
        # 2 means no limit: with 1, rounding could exclude the last characters.
        feeds["top_p"] = np.array([[top_p if top_p < 1 else 2] for _, top_p in bounds], np.float64)
    return feeds


def take_multi_step(live: Sequence[TextStream], outputs: Arrays) -> list[Piece]:
    """Give each text its part of the outputs of the multi-step decoder."""
    states = {name.removeprefix("next_"): array for name, array in outputs.items() if name != "drawn"}
    return [
        stream.take_ahead(ids, {name: array[row : row + 1] for name, array in states.items()})
        for row, (stream, ids) in enumerate(zip(live, outputs["drawn"].tolist(), strict=True))
    ]


def join_texts(pieces: Iterable[Piece], n: int) -> list[Piece]:
    """Join pieces into the ``n`` complete texts."""
    texts: list[list[Piece]] = [[] for _ in range(n)]
    for piece in pieces:
        texts[piece.index].append(piece)
    return [join_pieces(text) for text in texts]


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Join consecutive pieces of one text."""
    last = pieces[-1]
    if len(pieces) == 1:
        return last
    drawn = tuple(drawn for piece in pieces for drawn in piece.drawn)
    return Piece("".join([piece.text for piece in pieces]), last.index, last.finish, drawn)


def _find_stop(text: str, stops: list[str]) -> int | None:
    """Where the stop string that ends first begins; None if there is none."""
    ends = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    return min(ends)[1] if ends else None


def _possible_stop_length(text: str, stops: list[str]) -> int:
    """How many characters at the end of ``text`` may be the beginning of a stop string."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest

"""Sampling: the one place where text is drawn from probabilities (``latent.py`` has the points of latent spaces).

The random generator is always made from a seed that the caller passes in, so the same seed gives the same text in a
trainer's callback, in the local client and in the server. Source: section 8.1.3 of the book (temperature).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, numpy_dtype
from bookserve.verb import Generate


def draw(probabilities: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """Draw an index from float ``probabilities`` [n], sharpened (temperature < 1) or flattened (> 1).

    Temperature 0 takes the likeliest; it draws nothing from ``rng``.
    """
    if temperature == 0:
        return int(probabilities.argmax())
    scaled = np.log(np.maximum(probabilities, 1e-30, dtype=np.float64)) / temperature
    cumulative = np.exp(scaled - scaled.max()).cumsum()
    return int(cumulative.searchsorted(rng.random() * cumulative[-1], side="right"))


class TextStream:
    """One text being written: says what to feed the step graph next and takes what came out.

    Whoever runs the graph – alone or with other streams in one batch – loops ``take(run(feeds()))`` until ``done``.
    """

    def __init__(
        self, verb: Generate, graph: Graph, *, prompt: str, length: int, temperature: float, seed: int | None
    ) -> None:
        """
        Raises:
            InvalidInput: a negative or non-finite temperature, or a prompt with characters the model never saw.
        """
        if not math.isfinite(temperature) or temperature < 0:
            raise InvalidInput(f"the temperature is {temperature}; expected 0 (always the likeliest) or more.")
        ids = verb.characters([prompt or verb.prompt])[0]
        self.done = length <= 0
        self._entries = verb.characters.vocabulary.entries
        self._left = length
        self._temperature = temperature
        self._rng = np.random.default_rng(seed)
        self._characters = ids[None, -verb.window :]
        self._states = {
            name: np.zeros([1, *spec.sizes()[1:]], numpy_dtype(spec.dtype))
            for name, spec in graph.inputs.items()
            if name != "characters"
        }

    def feeds(self) -> Arrays:
        """Inputs of the next run, for a batch of one: first the prompt, then each character as it was drawn."""
        return {"characters": self._characters, **self._states}

    def take(self, outputs: Arrays) -> str:
        """Accept the outputs of that run and return the next character."""
        index = draw(outputs["probabilities"][0], self._temperature, self._rng)
        self._states = {name: outputs[f"next_{name}"] for name in self._states}
        self._characters = np.array([[index]], np.int32)
        self._left -= 1
        self.done = self._left <= 0
        return self._entries[index]

    def write(self, run: Callable[[Arrays], Arrays]) -> Iterator[str]:
        """Yield characters as they come, running the graph with ``run``."""
        while not self.done:
            yield self.take(run(self.feeds()))

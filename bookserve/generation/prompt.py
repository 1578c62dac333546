"""The log-probability of each character of a prompt, given those before it: what completions with ``echo`` return.

A character is judged as if the model were to continue the characters before it, of which it reads at most ``window``.
Within the first window one character after the other is read with the carried state; behind it each window is read by
itself, many of them in one run. Nothing here runs a graph.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from bookserve.graph import Arrays, Graph, numpy_dtype
from bookserve.verb import Drawn
from bookserve.verb import Generate as GenerateVerb

#: Windows that are read in one run.
_WINDOWS = 128
#: Replaces probabilities of 0, whose logarithm JSON cannot represent.
LEAST = 1e-45


def prompt_log_probabilities(
    verb: GenerateVerb, graph: Graph, prompt: str, count: int
) -> Generator[Arrays, Arrays, list[Drawn]]:
    """Yield inputs of the step graph, be sent its outputs, and return one entry for each character but the first.

    ``count`` is the number of likeliest alternatives with each.

    Raises:
        InvalidInput: the prompt has characters that the model does not know.
    """
    ids = verb.characters([prompt])[0]
    shown = prompt if len(prompt) == len(ids) else verb.characters.fold(prompt)
    scores: list[Drawn] = []

    def take(probabilities: np.ndarray, start: int) -> None:
        """Add the scores of the characters from ``start`` on, by the rows of probabilities before them."""
        for place, row in enumerate(probabilities, start):
            scores.append(
                log_probabilities(row, int(ids[place]), count, verb.characters.vocabulary.entries, shown[place])
            )

    states = _zero_states(graph, 1)
    for place in range(1, min(len(ids), verb.window + 1)):
        outputs = yield {"characters": ids[None, place - 1 : place], **states}
        states = {name: outputs[f"next_{name}"] for name in states}
        take(outputs["probabilities"], place)
    if len(ids) <= verb.window + 1:
        return scores
    windows = np.lib.stride_tricks.sliding_window_view(ids, verb.window)[1:-1]
    for start in range(0, len(windows), _WINDOWS):
        part = np.ascontiguousarray(windows[start : start + _WINDOWS])
        outputs = yield {"characters": part, **_zero_states(graph, len(part))}
        take(outputs["probabilities"], verb.window + 1 + start)
    return scores


def log_probabilities(
    probabilities: np.ndarray, index: int, count: int, entries: Sequence[str], shown: str = ""
) -> Drawn:
    """The natural logarithm of the probability of one character, and of the ``count`` likeliest."""
    logs = np.log(np.maximum(probabilities, LEAST, dtype=np.float64))
    best = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return Drawn(
        shown or entries[index], float(logs[index]), tuple((entries[place], float(logs[place])) for place in best)
    )


def _zero_states(graph: Graph, rows: int) -> Arrays:
    return {
        name: np.zeros([rows, *spec.sizes()[1:]], numpy_dtype(spec.dtype))
        for name, spec in graph.inputs.items()
        if name != "characters"
    }

"""Pace: how fast Keras itself writes – the book's loop, and the state carried on. ``python -m trainers.text_speed
BUNDLE``.

Prints one JSON object of characters a second; ``bookserve bench generate --with-keras`` runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bookserve.api.requests import GenerateRequest
from bookserve.bundle import Bundle
from bookserve.errors import NotFound
from bookserve.generation.sampling import draw_index
from bookserve.generation.text import text_streams
from bookserve.verb import Generate
from trainers import catalogue
from trainers.engine.samples import runner


def measure(path: Path, seconds: float) -> dict[str, float]:
    """Characters a second of the bundle at ``path``, by way of writing.

    Raises:
        NotFound: it is of no task with a step graph.
    """
    import keras

    opened = Bundle.open(path)
    verb, origin = opened.verb(Generate), opened.manifest.origin
    task = catalogue.find_task(origin.task) if origin else None
    if task is None or task.graphs is None:
        raise NotFound(f"{path} is of no task that has a step graph.")
    model = keras.saving.load_model(path / "assets" / "model.keras", compile=False)
    ids = verb.characters([verb.prompt])[0][-verb.window :]
    rng = np.random.default_rng(0)

    def book() -> None:
        """Listing 8.7: predict on the window, draw, move the window on."""
        nonlocal ids
        probabilities = model.predict(ids[None], verbose=0)[0]
        ids = np.append(ids[1:], np.int32(draw_index(probabilities, 1.0, rng)))

    step = runner(task.graphs(model)[verb.graph])
    (stream,) = text_streams(
        verb, opened.graph(verb.graph)[1], GenerateRequest(length=100_000, temperature=1.0, seed=0)
    )

    def carried() -> None:
        stream.take(step(stream.feeds()))

    return {"the book's loop": _rate(book, seconds), "Keras with state": _rate(carried, seconds)}


def _rate(write: Callable[[], None], seconds: float) -> float:
    for _ in range(3):  # traces and first allocations
        write()
    written, start = 0, time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        write()
        written += 1
    return written / (now - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(measure(arguments.bundle, arguments.seconds)) + "\n")


if __name__ == "__main__":
    main()

# ruff: noqa: T201 - a measurement that prints
"""Compare the modes ``window`` and ``state``: how well a character model predicts held-out text in either.

python bench/text_modes.py MODEL_DIRECTORY TEXT_FILE [--texts 200] [--length 400]

Each character of some passages is predicted from the true characters before it. ``window`` reads the last sixty
characters again for each (as the book does, and as the model was trained); ``state`` reads the first sixty and then
carries the state on. Printed are cross-entropies in nats a character, by distance from the start, and the mean
difference with its standard error over passages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bookserve import bundle
from bookserve.graph import Arrays, numpy_dtype
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="models/<name>")
    parser.add_argument("text", type=Path, help="text the model never saw")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--length", type=int, default=400)
    arguments = parser.parse_args()
    opened = bundle.open_bundle(arguments.model.parent, arguments.model.name)
    verb = opened.verb(Generate)
    graph = opened.graph(verb.graph)[1]
    backend = OnnxSession(opened.path / str(graph.onnx))
    known = verb.characters.vocabulary.ids
    text = "".join(character for character in arguments.text.read_text("utf-8").lower() if character in known)
    ids = verb.characters([text])[0]
    span = verb.window + arguments.length
    starts = np.random.default_rng(0).choice(len(ids) - span, arguments.texts, replace=False)
    passages = np.stack([ids[start : start + span] for start in starts])
    nothing: Arrays = {
        name: np.zeros([len(passages), *spec.sizes()[1:]], numpy_dtype(spec.dtype))
        for name, spec in graph.inputs.items()
        if name != "characters"
    }

    losses = {
        "window": np.empty((arguments.length, len(passages))),
        "state": np.empty((arguments.length, len(passages))),
    }
    states, read = nothing, passages[:, : verb.window]
    for place in range(arguments.length):
        truth = passages[:, verb.window + place]
        windows = passages[:, place : place + verb.window]
        carried = backend.run({"characters": read, **states})
        outputs = {"state": carried, "window": backend.run({"characters": windows, **nothing})}
        for mode, output in outputs.items():
            chances = output["probabilities"][np.arange(len(truth)), truth].astype(np.float64)
            losses[mode][place] = -np.log(np.maximum(chances, 1e-45))
        states, read = {name: carried[f"next_{name}"] for name in nothing}, truth[:, None]

    print(f"{opened.name} version {opened.version}: {len(passages)} passages of {arguments.length} characters")
    print(f"{'characters':>14}  {'window':>8}  {'state':>8}")
    edges = [edge for edge in (0, 20, 60, 120, 240, 400, 1000, 2000, 5000) if edge < arguments.length]
    for start, end in zip(edges, [*edges[1:], arguments.length], strict=True):
        print(f"{f'{start + 1}–{end}':>14}", *(f"{losses[mode][start:end].mean():9.4f}" for mode in losses))
    print(f"{'all':>14}", *(f"{losses[mode].mean():9.4f}" for mode in losses))
    difference = (losses["state"] - losses["window"]).mean(axis=0)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    print(f"state − window: {difference.mean():+.1e} ± {error:.1e} nats a character")
    print(f"largest difference at one character: {np.abs(losses['state'] - losses['window']).max():.3f}")


if __name__ == "__main__":
    main()

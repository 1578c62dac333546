"""Samples: what a generative model gives while and after it trains – texts at four temperatures, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bookserve import images as pictures
from bookserve.api.requests import GenerateRequest
from bookserve.generation.latent import latent_points
from bookserve.generation.text import text_streams
from bookserve.generation.transform import transform
from bookserve.graph import Arrays, Graph
from bookserve.run import Run
from bookserve.steps import apply_steps
from bookserve.verb import Generate, Sample, Transform
from trainers.task import Data

if TYPE_CHECKING:
    import keras

#: The book's, in listing 8.7.
TEMPERATURES = (0.2, 0.5, 1.0, 1.2)
GRID = 15


def write_samples(
    run: Run, data: Data, models: Mapping[str, keras.Model], graphs: Mapping[str, Graph], seed: int
) -> str:
    """Write ``samples.txt`` or ``.png`` into the run and return what can be shown as text (for other verbs: '')."""
    verb = data.verb
    if isinstance(verb, Generate):
        text = "\n".join(_texts(verb, graphs[verb.graph], runner(models[verb.graph]), seed))
        (run.path / "samples.txt").write_text(text, "utf-8")
        return text
    if isinstance(verb, Sample):
        if verb.latent == 2:
            points = latent_points(2, grid=GRID)
        else:
            points = latent_points(verb.latent, n=GRID * GRID, seed=seed)
        (name,) = graphs[verb.decode].inputs
        (decoded,) = runner(models[verb.decode])({name: points}).values()
        sheet = pictures.contact_sheet(np.asarray(apply_steps(verb.after, decoded)), columns=GRID)
        (run.path / "samples.png").write_bytes(pictures.encode_png(sheet))
        return f"{GRID} × {GRID} pictures: {run.path / 'samples.png'}"
    if isinstance(verb, Transform):
        stages = list(transform(verb, runners(models), data.rows))
        (run.path / "samples.png").write_bytes(pictures.encode_png(stages[-1].picture))
        losses = "\n".join(f"stage {number}  loss {s.before:.4g} → {s.after:.4g}" for number, s in enumerate(stages, 1))
        return f"{losses}\na picture: {run.path / 'samples.png'}"
    return ""


def _texts(verb: Generate, graph: Graph, model: Callable[[Arrays], Arrays], seed: int) -> list[str]:
    lines = []
    for temperature in TEMPERATURES:
        (stream,) = text_streams(verb, graph, GenerateRequest(temperature=temperature, seed=seed))
        written = "".join(piece.text for piece in stream.write(model))
        lines.append(f"--- temperature {temperature}\n{verb.prompt}{written}\n")
    return lines


def runner(model: keras.Model) -> Callable[[Arrays], Arrays]:
    """The model as what runs a graph."""
    import keras

    model.jit_compile = keras.backend.backend() == "jax"  # on TensorFlow, new lengths would be compiled anew
    return lambda feeds: {name: np.asarray(array) for name, array in model.predict_on_batch(feeds).items()}


def runners(models: Mapping[str, keras.Model]) -> Callable[[str, Arrays], Arrays]:
    """The models as what runs graphs by name."""
    ways = {name: runner(model) for name, model in models.items()}
    return lambda name, feeds: ways[name](feeds)

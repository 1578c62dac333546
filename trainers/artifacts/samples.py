"""Write samples of a generative model during and after training: texts at four temperatures, or pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bookserve import images
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

#: The temperatures of listing 8.7.
TEMPERATURES = (0.2, 0.5, 1.0, 1.2)
GRID = 15


def write_samples(
    run: Run, data: Data, models: Mapping[str, keras.Model], graphs: Mapping[str, Graph], seed: int
) -> str:
    """Write ``samples.txt`` or ``samples.png`` into the run; return a text to show ('' for the verb predict)."""
    verb = data.verb
    if isinstance(verb, Generate):
        text = "\n".join(_sample_texts(verb, graphs[verb.graph], graph_runner(models[verb.graph]), seed))
        (run.path / "samples.txt").write_text(text, "utf-8")
        return text
    if isinstance(verb, Sample):
        if verb.latent == 2:
            points = latent_points(2, grid=GRID)
        else:
            points = latent_points(verb.latent, n=GRID * GRID, seed=seed)
        (name,) = graphs[verb.decode].inputs
        (decoded,) = graph_runner(models[verb.decode])({name: points}).values()
        sheet = images.contact_sheet(np.asarray(apply_steps(verb.after, decoded)), columns=GRID)
        (run.path / "samples.png").write_bytes(images.encode_png(sheet))
        return f"{GRID} × {GRID} pictures: {run.path / 'samples.png'}"
    if isinstance(verb, Transform):
        stages = list(transform(verb, graph_runners(models), data.example_rows))
        (run.path / "samples.png").write_bytes(images.encode_png(stages[-1].picture))
        losses = "\n".join(f"stage {number}  loss {s.before:.4g} → {s.after:.4g}" for number, s in enumerate(stages, 1))
        return f"{losses}\na picture: {run.path / 'samples.png'}"
    return ""


def _sample_texts(verb: Generate, graph: Graph, model: Callable[[Arrays], Arrays], seed: int) -> list[str]:
    lines = []
    for temperature in TEMPERATURES:
        (stream,) = text_streams(verb, graph, GenerateRequest(temperature=temperature, seed=seed))
        written = "".join(piece.text for piece in stream.write(model))
        lines.append(f"--- temperature {temperature}\n{verb.prompt}{written}\n")
    return lines


def graph_runner(model: keras.Model) -> Callable[[Arrays], Arrays]:
    """A function that runs ``model`` as a graph: named arrays in, named arrays out."""
    import keras

    model.jit_compile = keras.backend.backend() == "jax"  # with TensorFlow, every new length would be compiled again
    return lambda feeds: {name: np.asarray(array) for name, array in model.predict_on_batch(feeds).items()}


def graph_runners(models: Mapping[str, keras.Model]) -> Callable[[str, Arrays], Arrays]:
    """A function that runs one of ``models``, given its name and the named input arrays."""
    by_name = {name: graph_runner(model) for name, model in models.items()}
    return lambda name, feeds: by_name[name](feeds)

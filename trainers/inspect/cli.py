"""Commands that look inside a trained network: ``bookserve inside activations | filters | gradcam | concept``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import numpy as np

from bookserve import images as pictures
from bookserve.cli.terminal import runs_option, silence_stderr
from bookserve.errors import InvalidInput
from bookserve.generation import explain
from bookserve.generation.colormap import viridis
from bookserve.generation.latent import STRENGTHS

run_argument = click.argument("name", metavar="RUN")
file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
out_option = click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("inside"),
    show_default=True,
    help="Directory for the pictures.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def inside() -> None:
    """Look inside a trained network (sections 5.4 and 8.4.2).

    RUN is a task (its newest finished run), TASK/TIME, or the directory of a run, of a model or of a bundle. Where no
    FILE is given, the run's first example is looked at.
    """


@inside.command()
@run_argument
@file_argument
@out_option
@runs_option
def activations(name: str, file: Path | None, out: Path, runs: Path) -> None:
    """Draw what every layer gives for a picture, channel by channel."""
    source = _open(name, runs)
    from trainers.inspect import activations as inside_activations

    found = inside_activations.activations(source.model, source.encode([_row(source, file)]))
    digits = len(str(len(found)))
    for number, (layer, activation) in enumerate(found.items(), 1):
        if activation.ndim in (2, 4):
            stem = f"activations_{number:0{digits}}_{layer}"
            _write(out, stem, explain.activation_sheet(activation), str(list(activation.shape[1:])))


@inside.command()
@run_argument
@click.option("--layer", "layers", multiple=True, help="Draw this layer; repeatable.  [default: every convolution]")
@click.option("--count", type=click.IntRange(1), default=64, show_default=True, help="Filters of a layer at most.")
@click.option("--steps", type=click.IntRange(1), default=40, show_default=True, help="Steps of gradient ascent.")
@click.option("--step", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="In grey levels.")
@click.option("--size", type=click.IntRange(8), default=140, show_default=True, help="Where the model takes any.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@out_option
@runs_option
def filters(
    name: str, layers: tuple[str, ...], count: int, steps: int, step: float, size: int, seed: int, out: Path, runs: Path
) -> None:
    """Draw the pattern that each filter answers to most, found by gradient ascent from noise."""
    source = _open(name, runs)
    from trainers.inspect import filters as inside_filters
    from trainers.inspect import layers as inside_layers

    chosen = [inside_layers.find_layer(source.model, layer) for layer in layers]
    for layer in chosen or inside_layers.names(source.model, maps=True):
        patterns = inside_filters.filters(
            source.model,
            layer,
            source.affine(),
            rng=np.random.default_rng(seed),
            count=count,
            steps=steps,
            step=step,
            size=size,
        )
        before, after = patterns.answers[0].mean(), patterns.answers[-1].mean()
        alive = np.count_nonzero(patterns.answers[-1])
        sheet = inside_filters.sheet(patterns.pixels)
        answering = f"{alive} of {len(patterns.pixels)} answer"
        _write(out, f"filters_{layer}", sheet, f"{answering}, in the mean {before:.3g} → {after:.3g}")


@inside.command()
@run_argument
@file_argument
@click.option("--class", "label", help="Name or number of the class.  [default: the likeliest]")
@click.option("--layer", default="", help="Layer whose map is weighted.  [default: the last convolution]")
@out_option
@runs_option
def gradcam(name: str, file: Path | None, label: str | None, layer: str, out: Path, runs: Path) -> None:
    """Draw which parts of a picture speak for a class (Grad-CAM)."""
    source = _open(name, runs)
    from trainers.inspect import gradcam as inside_gradcam

    labels, row = source.labels, _row(source, file)
    index = None if label is None else source.index(label)
    heat = inside_gradcam.gradcam(source.model, source.encode([row]), index, layer)
    photo = explain.enlarge_small(pictures.decode_image(row) if isinstance(row, bytes) else np.atleast_3d(row))
    named = labels[heat.chosen] if labels else f"class {heat.chosen}"
    if not heat.heatmap.any():
        click.echo(f"nothing in this picture speaks for {named}: the heat map is 0 everywhere", err=True)
    hot = viridis(explain.resize_heatmap(heat.heatmap, *photo.shape[:2]))
    _write(out, "gradcam_heatmap", hot, f"{named} {heat.probability:.4f}")
    _write(out, "gradcam_overlay", explain.overlay_heatmap(heat.heatmap, photo), f"{named} {heat.probability:.4f}")


@inside.command()
@run_argument
@click.option("--with", "have", metavar="LABEL|DIR", required=True, help="Pictures that have it.")
@click.option("--without", "lack", metavar="LABEL|DIR", required=True, help="Pictures that lack it.")
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True, help="Pictures to move along it.")
@out_option
@runs_option
def concept(name: str, have: str, lack: str, count: int, out: Path, runs: Path) -> None:
    """Find the direction in a latent space from pictures without something to pictures with it.

    The first pictures without it are moved along that direction and decoded, a row of the sheet for each. Pictures are
    named by a label of the run's data set or by a folder of files.
    """
    source = _open(name, runs)
    from trainers.inspect import concepts

    encode, decode = concepts.coders(source)
    rows_with, rows_without = (concepts.chosen(source, wanted) for wanted in (have, lack))
    vector = concepts.concept(encode, rows_with, rows_without)
    moved = concepts.along(encode, decode, rows_without[:count], vector, STRENGTHS)
    tiles = moved.reshape(-1, *moved.shape[2:])
    sheet = pictures.contact_sheet(tiles, columns=len(STRENGTHS), scale=max(1, 64 // tiles.shape[1]))
    stem = f"concept_{Path(have).name}_without_{Path(lack).name}"
    _write(out, stem, sheet, f"vector {', '.join(f'{value:.3f}' for value in vector[:8])}")


def _open(name: str, runs: Path) -> Any:
    """The source that ``name`` means; Keras is imported here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with silence_stderr():
        import keras

        keras.ops.zeros(1)  # TensorFlow looks for its devices, which it does not do silently
    from trainers.inspect import source

    return source.find_source(name, runs)


def _row(source: Any, file: Path | None) -> Any:
    if file is not None:
        return file.read_bytes()
    source.encode(source.rows[:1])  # says so where the model takes no pictures
    if not len(source.rows):
        raise InvalidInput(f"{source.name} brings no example.", "Give the file of a picture.")
    return source.rows[0]


def _write(out: Path, stem: str, picture: np.ndarray, what: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem.replace('/', '_').replace(':', '_')}.png"
    path.write_bytes(pictures.encode_png(picture))
    click.echo(f"{path}  {what}")

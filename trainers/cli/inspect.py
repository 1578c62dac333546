"""Define the commands that show the inside of a network: ``bookserve inside activations|filters|gradcam|concept``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np

from bookserve import images
from bookserve.cli.terminal import next_command, runs_option, silence_stderr
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
    """Draw what a trained network sees in a picture, and why it answers as it does.

    Each command writes PNG files. RUN is a task (its newest finished run), TASK/TIME, or the directory of a run, of a
    model or of a bundle. Without FILE, the run's first example picture is used. (Sections 5.4 and 8.4.2 of the book.)
    """


@inside.command()
@run_argument
@file_argument
@out_option
@runs_option
def activations(name: str, file: Path | None, out: Path, runs: Path) -> None:
    """Draw what each layer makes of a picture.

    There is one file for each layer, in the order in which the layers run, and in it one tile for each channel. Bright
    is strong; a dark tile looks for something that this picture does not have.
    """
    trained = _open_model(name, runs)
    from trainers.inspect.layers import layer_activations

    found = layer_activations(trained.model, trained.encode_pictures([_picture(trained, file)]))
    digits = len(str(len(found)))
    for number, (layer, activation) in enumerate(found.items(), 1):
        if activation.ndim in (2, 4):
            stem = f"activations_{number:0{digits}}_{layer}"
            _write_picture(out, stem, explain.activation_sheet(activation), f"{layer}: {_channels(activation.shape)}")
    next_command(_next("gradcam", name, file, runs) + "   (which parts of the picture count)")


@inside.command()
@run_argument
@click.option(
    "--layer", "layers", multiple=True, help="Draw the filters of this layer; repeatable.  [default: every convolution]"
)
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Maximum number of filters per layer."
)
@click.option(
    "--steps", type=click.IntRange(1), default=40, show_default=True, help="Number of steps of gradient ascent."
)
@click.option(
    "--step",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Size of a step, in grey levels.",
)
@click.option(
    "--size",
    type=click.IntRange(8),
    default=140,
    show_default=True,
    help="Height and width in pixels, if the model takes any size.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@out_option
@runs_option
def filters(
    name: str, layers: tuple[str, ...], count: int, steps: int, step: float, size: int, seed: int, out: Path, runs: Path
) -> None:
    """Draw what each filter of a convolution looks for.

    It starts with noise and changes the pixels, step by step, so that the filter responds more (gradient ascent). Early
    layers look for colours and edges, later ones for textures and parts of things.
    """
    trained = _open_model(name, runs)
    from trainers.inspect.filters import filter_patterns, pattern_sheet
    from trainers.inspect.layers import find_layer, layer_names

    named = [find_layer(trained.model, layer) for layer in layers]
    for layer in named or layer_names(trained.model, maps=True):
        patterns = filter_patterns(
            trained.model,
            layer,
            trained.pixel_transform(),
            rng=np.random.default_rng(seed),
            count=count,
            steps=steps,
            step=step,
            size=size,
        )
        before, after = patterns.activations[0].mean(), patterns.activations[-1].mean()
        active = np.count_nonzero(patterns.activations[-1])
        sheet = pattern_sheet(patterns.pixels)
        found = f"{layer}: {active} of {len(patterns.pixels)} filters found a pattern"
        _write_picture(out, f"filters_{layer}", sheet, f"{found}; mean response {before:.3g} → {after:.3g}")
    next_command(_next("activations", name, None, runs) + "   (what the filters make of a picture)")


@inside.command()
@run_argument
@file_argument
@click.option("--class", "label", help="Name or number of the class.  [default: the most probable]")
@click.option("--layer", default="", help="Layer whose feature maps are used.  [default: the last convolution]")
@out_option
@runs_option
def gradcam(name: str, file: Path | None, label: str | None, layer: str, out: Path, runs: Path) -> None:
    """Draw which parts of a picture count for a class (Grad-CAM).

    gradcam_overlay.png is the picture with the heat map on it, gradcam_heatmap.png the heat map alone. Yellow parts
    raise the score of the class most; blue parts do not count.
    """
    trained = _open_model(name, runs)
    from trainers.inspect.gradcam import class_heatmap

    labels, row = trained.labels, _picture(trained, file)
    index = None if label is None else trained.class_index(label)
    heat = class_heatmap(trained.model, trained.encode_pictures([row]), index, layer)
    photo = explain.enlarge_small(images.decode_image(row) if isinstance(row, bytes) else np.atleast_3d(row))
    named = labels[heat.class_index] if labels else f"class {heat.class_index}"
    if not heat.heatmap.any():
        click.echo(f"nothing in this picture counts for {named}: the heat map is 0 everywhere", err=True)
    hot = viridis(explain.resize_heatmap(heat.heatmap, *photo.shape[:2]))
    click.echo(f"{named}: probability {heat.probability:.4f}")
    _write_picture(out, "gradcam_heatmap", hot, f"what counts for {named}: yellow most, blue not at all")
    _write_picture(out, "gradcam_overlay", explain.overlay_heatmap(heat.heatmap, photo), "the same on the picture")
    next_command(_next("activations", name, file, runs) + "   (what each layer makes of it)")


@inside.command(short_help="Move pictures towards a property, such as a smile.")
@run_argument
@click.option("--with", "with_concept", metavar="LABEL|DIR", required=True, help="Pictures with the concept.")
@click.option("--without", "without_concept", metavar="LABEL|DIR", required=True, help="Pictures without the concept.")
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True, help="Number of pictures to change.")
@out_option
@runs_option
def concept(name: str, with_concept: str, without_concept: str, count: int, out: Path, runs: Path) -> None:
    """Find a concept vector: the direction that leads from pictures without a property to pictures with it.

    An autoencoder turns each picture into a point. The vector is the difference between the mean points of the two
    kinds. The first pictures without the property are then moved along it, one row of the result for each: on the left
    as they are, further right with more of the property. Pictures are given as a label of the run's data set or as a
    folder of files.
    """
    trained = _open_model(name, runs)
    from trainers.inspect import concepts

    encode, decode = concepts.encoder_and_decoder(trained)
    rows_with, rows_without = (concepts.find_pictures(trained, wanted) for wanted in (with_concept, without_concept))
    vector = concepts.concept_vector(encode, rows_with, rows_without)
    moved = concepts.move_along(encode, decode, rows_without[:count], vector, STRENGTHS)
    tiles = moved.reshape(-1, *moved.shape[2:])
    sheet = images.contact_sheet(tiles, columns=len(STRENGTHS), scale=max(1, 64 // tiles.shape[1]))
    stem = f"concept_{Path(with_concept).name}_without_{Path(without_concept).name}"
    moves = ", ".join(f"{strength:g}" for strength in STRENGTHS)
    _write_picture(out, stem, sheet, f"a row a picture, moved by {moves} times the vector")
    click.echo(f"vector: {', '.join(f'{value:.3f}' for value in vector[:8])}{', …' * (len(vector) > 8)}")
    next_command(f"bookserve export {name} --runs {runs}")


def _open_model(name: str, runs: Path) -> Any:
    """Open the model that ``name`` means; this imports Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with silence_stderr():
        import keras

        keras.ops.zeros(1)  # TensorFlow searches for devices and prints about it: do it while stderr is silenced
    from trainers.inspect.trained_model import open_trained_model

    return open_trained_model(name, runs)


def _picture(trained: Any, file: Path | None) -> Any:
    if file is not None:
        return file.read_bytes()
    trained.encode_pictures(trained.rows[:1])  # raises if the model does not take pictures
    if not len(trained.rows):
        raise InvalidInput(f"{trained.name} has no example picture.", "Give the file of a picture.")
    return trained.rows[0]


def _channels(shape: tuple[int, ...]) -> str:
    """The shape of an activation [1, …] in words."""
    if len(shape) == 2:
        return f"{shape[1]} numbers"
    return f"{shape[3]} channels of {shape[1]} × {shape[2]} pixels"


def _next(command: str, name: str, file: Path | None, runs: Path) -> str:
    words = ["bookserve", "inside", command, name, *([str(file)] if file else []), "--runs", str(runs)]
    return shlex.join(words)


def _write_picture(out: Path, stem: str, picture: np.ndarray, what: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem.replace('/', '_').replace(':', '_')}.png"
    path.write_bytes(images.encode_png(picture))
    click.echo(f"{path}  {what}")

"""Commands that change or explain pictures: ``bookserve dream | style | explain | activations | filters``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from bookserve.cli.completion import complete_files
from bookserve.cli.terminal import json_option, print_json
from bookserve.generation.explain import Layer
from clients.after_answer import next_call, sample_note
from clients.connection import Connection, connection_options
from clients.options import model_argument, version_option
from clients.terminal_pictures import show_option, show_picture

file_argument = click.Path(exists=True, dir_okay=False, path_type=Path)
previews_option = click.option(
    "--previews",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the intermediate picture after each stage.",
)
params_option = click.option(
    "-p", "params", metavar="KEY=VALUE", multiple=True, help="Set a parameter of the method; repeatable."
)


def _png(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() != ".png":
        raise click.BadParameter(f"'{value}' must end in .png.")
    return value


def out_option(default: str) -> Callable[[Any], Any]:
    """The option ``-o`` for one PNG file."""
    return click.option(
        "-o",
        "output",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_png,
        help=f"PNG file to write.  [default: {default}]",
    )


@click.command()
@click.argument("image", type=file_argument)
@click.option("--model", default="deepdream", show_default=True, help="DeepDream model.")
@click.option("--layer", "layers", metavar="NAME=NUMBER", multiple=True, help="Weight of a layer; repeatable.")
@params_option
@out_option("IMAGE_dream.png")
@show_option
@previews_option
@connection_options
@version_option
def dream(
    image: Path,
    model: str,
    layers: tuple[str, ...],
    params: tuple[str, ...],
    output: Path | None,
    show: bool | None,
    previews: Path | None,
    connection: Connection,
    version: int | None,
) -> None:
    """Change a picture by DeepDream.

    The parameters are step, octaves, octave_scale, iterations, max_loss and height (pixels).
    """
    given = _values(params)
    if layers:
        given["contributions"] = _values(layers)
    picture = _change(model, [image], given, output or _beside(image, "dream"), previews, connection, version)
    show_picture(picture, show)
    next_call(connection, "dream", image, *_named(model, "deepdream"), "-p", "iterations=40", about="a stronger dream")


@click.command()
@click.argument("content", type=file_argument)
@click.argument("style", type=file_argument)
@click.option("--model", default="style_transfer", show_default=True, help="Style transfer model.")
@params_option
@out_option("CONTENT_style.png")
@show_option
@previews_option
@connection_options
@version_option
def style(
    content: Path,
    style: Path,
    model: str,
    params: tuple[str, ...],
    output: Path | None,
    show: bool | None,
    previews: Path | None,
    connection: Connection,
    version: int | None,
) -> None:
    """Apply the style of one picture to another.

    The parameters are content_weight, style_weight, total_variation_weight, iterations, evaluations and height (in
    pixels).
    """
    path = output or _beside(content, "style")
    picture = _change(model, [content, style], _values(params), path, previews, connection, version)
    show_picture(picture, show)
    words = ("style", content, style, *_named(model, "style_transfer"), "-p", "style_weight=4")
    next_call(connection, *words, about="more of the style")


@click.command()
@model_argument
@click.argument("image", shell_complete=complete_files)
@click.option("--class", "label", help="Label or index of the class to explain.  [default: the likeliest]")
@out_option("MODEL_explain.png")
@show_option
@json_option
@connection_options
@version_option
def explain(
    model: str,
    image: str,
    label: str | None,
    output: Path | None,
    show: bool | None,
    as_json: bool,
    connection: Connection,
    version: int | None,
) -> None:
    """Show which parts of a picture count for a class (Grad-CAM).

    IMAGE is a picture as `bookserve predict` takes it: a file, or - for standard input.
    """
    from clients.output import write_file

    with connection.open() as client:
        found = client.explain(model, _row(image), label, version)
        sample_note(client, model, version)
    path = output or Path(f"{model}_explain.png")
    write_file(path, _encoded(found.overlay))
    if as_json:
        print_json({"label": found.label, "score": found.score, "heatmap": found.heatmap.tolist(), "file": str(path)})
        return
    if not found.heatmap.any():
        click.echo(f"no part of this picture counts for {found.label}: the heat map is 0 everywhere", err=True)
    click.echo(f"{found.label} ({found.score:.4f}): {path}")
    show_picture(found.overlay, show)
    next_call(connection, "activations", model, image, about="what each layer makes of it")


layers_option = click.option(
    "--layer", "layers", multiple=True, help="Draw only this layer; repeatable.  [default: all]"
)


def folder_option(default: str) -> Callable[[Any], Any]:
    """The option ``-o`` for a directory of pictures."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option(
        "-o", "output", type=kind, default=Path(default), show_default=True, help="Directory for the pictures."
    )


@click.command()
@model_argument
@click.argument("image", shell_complete=complete_files)
@layers_option
@folder_option("activations")
@connection_options
@version_option
def activations(
    model: str, image: str, layers: tuple[str, ...], output: Path, connection: Connection, version: int | None
) -> None:
    """Draw the activations of every layer of a convnet, channel by channel.

    IMAGE is a picture as `bookserve predict` takes it: a file, or - for standard input.
    """
    with connection.open() as client:
        _write(client.activations(model, _row(image), version), layers, output)
        sample_note(client, model, version)
    next_call(connection, "explain", model, image, about="which parts of the picture count")


@click.command()
@model_argument
@layers_option
@folder_option("filters")
@connection_options
@version_option
def filters(model: str, layers: tuple[str, ...], output: Path, connection: Connection, version: int | None) -> None:
    """Draw the patterns that the filters of a convnet respond to most.

    The model must have been trained with -p filters=40.
    """
    with connection.open() as client:
        _write(client.filters(model, version), layers, output)
        sample_note(client, model, version)
    next_call(connection, "activations", model, "PICTURE", about="what the filters make of a picture")


def _write(found: list[Layer], layers: tuple[str, ...], output: Path) -> None:
    from clients.output import write_file

    known = [layer.name for layer in found]
    for name in layers:
        if name not in known:
            raise click.BadParameter(f"there is no layer '{name}'; the layers are {', '.join(known)}.")
    output.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(found)))
    for number, layer in enumerate(found, 1):
        if not layers or layer.name in layers:
            path = output / f"{number:0{digits}}_{layer.name}.png"
            write_file(path, _encoded(layer.picture))
            click.echo(f"{path}  {list(layer.shape)}")


def _change(
    model: str,
    files: list[Path],
    params: dict[str, Any],
    output: Path,
    previews: Path | None,
    connection: Connection,
    version: int | None,
) -> np.ndarray:
    from bookserve.generation.transform import Progress
    from clients.output import write_file

    if previews:
        previews.mkdir(parents=True, exist_ok=True)
    stages = 0
    with connection.open() as client, _bar(model) as advance:

        def tell(progress: Progress) -> None:
            nonlocal stages
            advance(progress.step, progress.steps, progress.loss)
            if progress.picture is not None and previews:
                stages += 1
                write_file(previews / f"stage_{stages:02}.png", _encoded(progress.picture))

        picture = client.transform(model, [file.read_bytes() for file in files], params, tell, version)
        sample_note(client, model, version)
    write_file(output, _encoded(picture))
    click.echo(f"{output} ({picture.shape[1]} × {picture.shape[0]} pixels)")
    return picture


@contextmanager
def _bar(model: str) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar on standard error; nothing if that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(model), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, loss="waiting")

        def advance(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, loss="waiting" if loss != loss else f"loss {loss:.4g}")

        yield advance


def _values(items: tuple[str, ...]) -> dict[str, Any]:
    """``("step=0.02",)`` → ``{"step": 0.02}``."""
    found = {}
    for item in items:
        name, equals, text = item.partition("=")
        try:
            found[name] = json.loads(text)
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(f"'{item}' is not of the form NAME=NUMBER.")
    return found


def _row(image: str) -> Any:
    from clients.input_rows import read_rows

    _, rows = read_rows((image,), sys.stdin.buffer)
    return rows[0]


def _named(model: str, default: str) -> tuple[str, ...]:
    return () if model == default else ("--model", model)


def _beside(image: Path, word: str) -> Path:
    return Path(f"{image.stem}_{word}.png")


def _encoded(picture: np.ndarray) -> bytes:
    from bookserve.images import encode_png

    return encode_png(picture)

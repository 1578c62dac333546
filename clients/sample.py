"""Command ``bookserve sample``: generate pictures from a latent space, as a sheet, an animation or an array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from bookserve.client.client import SAMPLES, Client
from bookserve.generation.latent import STRENGTHS, concept_vector, count_points, move_points
from clients.after_answer import next_call, sample_note
from clients.connection import Connection, connection_options
from clients.options import model_argument, require_suffix, seed_option, version_option
from clients.terminal_pictures import show_option, show_picture

#: Small pictures are enlarged to about this height in pixels.
MIN_TILE = 64
#: Maximum number of pictures in a sheet, and in an animation.
SHEET, FRAMES = 16_384, 2_000

picture_files = click.Path(exists=True, dir_okay=False, path_type=Path)
folder = click.Path(exists=True, file_okay=False, path_type=Path)


def _points(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[list[float]] | None:
    try:
        return [[float(number) for number in point.split(",")] for point in value] or None
    except ValueError as error:
        raise click.BadParameter(f"{error}; expected numbers like 0.5,-1.2") from error


@click.command()
@model_argument
@click.option("-n", "--n", type=click.IntRange(1), help="Number of random points.  [default: 16; for a walk 5]")
@click.option(
    "--latent", multiple=True, callback=_points, metavar='"X,Y"', help="A point of the latent space; repeatable."
)
@click.option("--grid", type=click.IntRange(1), metavar="N", help="Draw a grid of N by N points over the latent plane.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=picture_files,
    help="Use the point that this picture is encoded to; repeatable.",
)
@seed_option
@click.option(
    "--truncation",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Draw random coordinates only between -X and X.",
)
@click.option("--walk", type=click.IntRange(1), metavar="N", help="Number of frames between two points.")
@click.option(
    "--interpolate",
    type=click.Choice(["linear", "slerp"]),
    default="linear",
    show_default=True,
    help="Walk on a straight line or on a sphere.",
)
@click.option("--with", "have", type=folder, help="Folder of pictures that have some feature; needs --without.")
@click.option(
    "--without",
    "lack",
    type=folder,
    help="Folder of pictures without the feature; points are moved towards the feature.",
)
@click.option(
    "--strength",
    "strengths",
    type=float,
    multiple=True,
    help="How far to move: 1 is the whole way; repeatable.  [default: 0 to 1.5 in steps of 0.25]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01),
    default=0.1,
    show_default=True,
    help="Seconds that an animation shows each frame.",
)
@click.option(
    "-o",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=require_suffix(".png", ".gif", ".apng", ".npy"),
    help="File to write: a .png sheet, a .gif or .apng animation, or pixels as .npy.  [default: MODEL.png]",
)
@show_option
@connection_options
@version_option
def sample(
    model: str,
    n: int | None,
    latent: list[list[float]] | None,
    grid: int | None,
    images: tuple[Path, ...],
    seed: int | None,
    truncation: float | None,
    walk: int | None,
    interpolate: str,
    have: Path | None,
    lack: Path | None,
    strengths: tuple[float, ...],
    seconds: float,
    output: Path | None,
    show: bool | None,
    connection: Connection,
    version: int | None,
) -> None:
    """Generate pictures from a model's latent space.

    The points are random, given, on a grid, or encoded from pictures. An .npy file is written while the pictures
    arrive, so it can hold any number of them.
    """
    if sum(bool(choice) for choice in (n, latent, grid, images)) > 1:
        raise click.UsageError("Give only one of -n, --latent, --grid and --image.")
    if (have is None) != (lack is None) or (strengths and not have):
        raise click.UsageError("--with and --without need each other; --strength needs both.")
    fields: dict[str, Any] = {"n": n, "latent": latent, "grid": grid, "seed": seed, "truncation": truncation}
    columns = grid
    with connection.open() as client:
        if images:
            fields["latent"] = _encode(client, model, list(images), version).tolist()
        if have and lack:
            vector = concept_vector(*(_encode(client, model, _files(place), version) for place in (have, lack)))
            stations = np.asarray(fields["latent"]) if images or latent else None
            if stations is None:
                stations = client.sample(model, n or 8, grid=grid, seed=seed, version=version).latent
            columns = len(strengths or STRENGTHS)
            fields = {"latent": move_points(stations, vector, strengths or STRENGTHS).tolist()}
        total = count_points(n=fields.get("n"), latent=fields["latent"], grid=fields.get("grid"), walk=walk)
        fields |= {"walk": walk, "interpolate": interpolate, "version": version}
        path = output or Path(f"{model}.png")
        parts = (part.images for part in client.sample_parts(model, **fields))
        described, sheet = _write(path, total, parts, columns, seconds)
        click.echo(f"{total} pictures written to {path} ({described})")
        sample_note(client, model, version)
    if sheet is not None:
        show_picture(sheet, show)
    if walk:
        next_call(
            connection, "sample", model, "--seed", (seed or 0) + 1, "--walk", walk, "-o", path, about="another walk"
        )
    else:
        next_call(connection, "sample", model, "--walk", 20, "-o", f"{model}.gif", about="a walk between points")


def _write(
    path: Path, total: int, parts: Iterator[np.ndarray], columns: int | None, seconds: float
) -> tuple[str, np.ndarray | None]:
    """Write pictures in the format of the file's suffix; return a description of what was written, and a sheet."""
    from bookserve.images import contact_sheet, encode_animation, encode_png
    from clients.output import write_file

    kind = path.suffix.lower()
    if kind == ".npy":
        return write_frames(path, total, parts), None
    most = SHEET if kind == ".png" else FRAMES
    if total > most:
        raise click.UsageError(
            f"{total:,} pictures are too many for a {kind} file (at most {most:,}); write them to an .npy file"
        )
    pictures = np.concatenate(list(parts))
    scale = max(1, MIN_TILE // pictures.shape[1])
    if kind == ".png":
        sheet = contact_sheet(pictures, columns=columns, scale=scale)
        write_file(path, encode_png(sheet))
        return f"{sheet.shape[1]} × {sheet.shape[0]} pixels", sheet
    scale *= 2  # a frame shows one picture, which may be larger
    frames = (picture.repeat(scale, axis=0).repeat(scale, axis=1) for picture in pictures)
    write_file(path, encode_animation(frames, "gif" if kind == ".gif" else "apng", seconds))
    return f"{total * seconds:.1f} seconds", None


def write_frames(path: Path, total: int, parts: Iterator[np.ndarray]) -> str:
    """Write an NPY file in parts; it appears under its name when it is complete."""
    from bookserve.errors import Failed

    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            shape: tuple[int, ...] = ()
            for part in parts:
                if not shape:
                    shape = (total, *part.shape[1:])
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(part, np.uint8).data)
        partial.replace(path)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return f"uint8{list(shape)}"


def _encode(client: Client, model: str, files: list[Path], version: int | None) -> np.ndarray:
    """The latent points of picture files, float32 [n, dimensions]."""
    rows = [file.read_bytes() for file in files]
    starts = range(0, len(rows), SAMPLES)
    return np.concatenate([client.sample(model, images=rows[i : i + SAMPLES], version=version).latent for i in starts])


def _files(place: Path) -> list[Path]:
    from bookserve.errors import NotFound

    known = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in known)
    if not files:
        raise NotFound(f"there is no picture in {place}.", f"Files must end in {', '.join(known)}.")
    return files

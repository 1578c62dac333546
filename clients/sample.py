"""The command ``bookserve sample``: pictures from a latent space as a sheet, an animation or an array."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np

from bookserve.client.address import connect
from bookserve.client.client import Client
from bookserve.generation.latent import STRENGTHS, concept_vector, count_points, move_points
from clients.predict import require_suffix, seed_option, url_option, version_option

#: Height in pixels that small pictures are enlarged to, about.
MIN_TILE = 64
#: Pictures in one request, and those that a sheet or an animation may hold.
BATCH, SHEET, FRAMES = 256, 16_384, 2_000

picture_files = click.Path(exists=True, dir_okay=False, path_type=Path)
folder = click.Path(exists=True, file_okay=False, path_type=Path)


def _points(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[list[float]] | None:
    try:
        return [[float(number) for number in point.split(",")] for point in value] or None
    except ValueError as error:
        raise click.BadParameter(f"{error}; expected numbers like 0.5,-1.2") from error


@click.command()
@click.argument("model")
@click.option("-n", "--n", type=click.IntRange(1), help="Random points to draw.  [default: 16; of a walk 5]")
@click.option("--latent", multiple=True, callback=_points, metavar='"X,Y"', help="A point of the latent space; repeat.")
@click.option("--grid", type=click.IntRange(1), help="Pictures in a row and a column over the latent plane.")
@click.option("--image", "images", multiple=True, type=picture_files, help="Encode this picture; repeat.")
@seed_option
@click.option("--truncation", type=click.FloatRange(0, min_open=True), help="Cut random numbers off at ± this.")
@click.option("--walk", type=click.IntRange(1), metavar="STEPS", help="Walk in so many steps from point to point.")
@click.option(
    "--interpolate",
    type=click.Choice(["linear", "slerp"]),
    default="linear",
    show_default=True,
    help="Walk straight, or along the sphere.",
)
@click.option("--with", "have", type=folder, help="Folder of pictures that have something …")
@click.option("--without", "lack", type=folder, help="… and of pictures that lack it: points are moved that way.")
@click.option(
    "--strength", "strengths", type=float, multiple=True, help="How far, 1 being the whole way; repeat.  [0 to 1.5]"
)
@click.option("--seconds", type=click.FloatRange(0.01), default=0.1, show_default=True, help="Time for each frame.")
@click.option(
    "-o",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=require_suffix(".png", ".gif", ".apng", ".npy"),
    help="A .png sheet, a .gif or .apng animation, or .npy for the pixels.  [default: MODEL.png]",
)
@url_option
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
    url: str,
    version: int | None,
) -> None:
    """Draw pictures from a model's latent space.

    Points are random, given, on a grid, or those that pictures encode to. An .npy file is written as pictures come, so
    it may hold any number of them.
    """
    if sum(bool(choice) for choice in (n, latent, grid, images)) > 1:
        raise click.UsageError("Give only one of -n, --latent, --grid and --image.")
    if (have is None) != (lack is None) or (strengths and not have):
        raise click.UsageError("--with and --without go together; --strength needs both.")
    # Requests for parts must agree on the points.
    seed = secrets.randbits(32) if seed is None else seed
    asked: dict[str, Any] = {"n": n, "latent": latent, "grid": grid, "seed": seed, "truncation": truncation}
    columns = grid
    with connect(url) as client:
        if images:
            asked["latent"] = _encode(client, model, list(images), version).tolist()
        if have and lack:
            vector = concept_vector(*(_encode(client, model, _files(place), version) for place in (have, lack)))
            stations = np.asarray(asked["latent"]) if images or latent else None
            if stations is None:
                stations = client.sample(model, n or 8, grid=grid, seed=seed, version=version).latent
            columns = len(strengths or STRENGTHS)
            asked = {"latent": move_points(stations, vector, strengths or STRENGTHS).tolist()}
        total = count_points(n=asked.get("n"), latent=asked["latent"], grid=asked.get("grid"), walk=walk)
        asked |= {"walk": walk, "interpolate": interpolate, "version": version}
        path = output or Path(f"{model}.png")
        with closing(sample_parts(client, model, total, asked)) as coming:
            click.echo(f"{total} pictures are in {path} ({_write(path, total, coming, columns, seconds)})")


def sample_parts(client: Client, model: str, total: int, asked: dict[str, Any]) -> Generator[np.ndarray]:
    """Pictures uint8 [some, height, width, channels], a part of the ``total`` at a time."""
    for start in range(0, total, BATCH):
        yield client.sample(model, start=start, count=min(BATCH, total - start), **asked).images


def _write(path: Path, total: int, coming: Iterator[np.ndarray], columns: int | None, seconds: float) -> str:
    """Write what comes in the form of the file's suffix; what has been written, in words."""
    from bookserve.images import contact_sheet, encode_animation, encode_png
    from clients.output import save_atomically

    kind = path.suffix.lower()
    if kind == ".npy":
        return write_frames(path, total, coming)
    most = SHEET if kind == ".png" else FRAMES
    if total > most:
        raise click.UsageError(f"{total:,} pictures do not fit into a {kind} file ({most:,} do); write them to .npy")
    pictures = np.concatenate(list(coming))
    scale = max(1, MIN_TILE // pictures.shape[1])
    if kind == ".png":
        sheet = contact_sheet(pictures, columns=columns, scale=scale)
        save_atomically(path, encode_png(sheet))
        return f"{sheet.shape[1]} × {sheet.shape[0]} pixels"
    scale *= 2  # one picture at a time may be larger
    frames = (picture.repeat(scale, axis=0).repeat(scale, axis=1) for picture in pictures)
    save_atomically(path, encode_animation(frames, "gif" if kind == ".gif" else "apng", seconds))
    return f"{total * seconds:.1f} seconds"


def write_frames(path: Path, total: int, coming: Iterator[np.ndarray]) -> str:
    """Write an NPY file part by part; it appears when it is whole."""
    from bookserve.errors import Failed

    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            shape: tuple[int, ...] = ()
            for part in coming:
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
    """The points of pictures, a few at a time."""
    rows = [file.read_bytes() for file in files]
    starts = range(0, len(rows), BATCH)
    return np.concatenate(
        [client.sample(model, images=rows[start : start + BATCH], version=version).latent for start in starts]
    )


def _files(place: Path) -> list[Path]:
    from bookserve.errors import NotFound

    known = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in known)
    if not files:
        raise NotFound(f"there is no picture in {place}.", f"Known are {', '.join(known)}.")
    return files

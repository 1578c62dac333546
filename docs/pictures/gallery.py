"""Make the pictures of ``docs/gallery.md`` with bookserve's own commands, and write that page: ``make gallery``.

Models that are not in the ``--work`` directory yet are trained first, on real data: minutes on 2 cores, hours for the
frogs.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from bookserve import bundle, run
from bookserve import images as pictures

DOCS = Path(__file__).parent.parent
DATA = "$BOOKSERVE_DATA"
#: The mark of blocks of commands for `tests/end_to_end/test_docs.py`.
NOT_RUN = "<!-- not run: needs models that are trained for hours -->"

#: Tasks to train where they have no run yet, with their options.
TRAIN = {
    "mnist_vae": "--epochs 4 -p batch_size=64",
    "mnist_convnet": "--epochs 2 -p filters=40",
    "imagenet_classifier": "",
    "cats_dogs_convnet": "--epochs 6 -p learning_rate=0.0003 -p size=100",
    "deepdream": "-p base=vgg16 -p height=350",
    "style_transfer": "-p base=vgg16 -p height=350 -p iterations=10",
    "cifar10_gan": "-p width=0.5 --epochs 250",
}


class Picture(NamedTuple):
    """One picture of the page: its title, what it shows, its file, and the command that makes it from a model."""

    title: str
    about: str
    file: str
    command: str
    model: str


PICTURES = (
    Picture(
        "Digits from a latent plane",
        "The latent space of a variational autoencoder has two dimensions: 12 × 12 points at the quantiles of a normal "
        "distribution (figure 8.14 of the book).",
        "digits_plane.png",
        "sample mnist_vae --grid 12",
        "mnist_vae",
    ),
    Picture(
        "A walk through the latent plane",
        "From one random point of that plane to the next, along the sphere (spherical interpolation).",
        "digits_walk.gif",
        "sample mnist_vae -n 6 --seed 3 --walk 10 --interpolate slerp --seconds 0.08",
        "mnist_vae",
    ),
    Picture(
        "Generated frogs",
        "A generative adversarial network (GAN) half as wide as the book's, after 25,000 iterations (figure 8.18).",
        "frogs.png",
        "sample cifar10_gan -n 64 --seed 0",
        "cifar10_gan",
    ),
    Picture(
        "DeepDream",
        "The book's elephants, changed so that VGG16 responds more strongly (figure 8.5).",
        "dream.png",
        f"dream {DATA}/images/creative_commons_elephant.jpg",
        "deepdream",
    ),
    Picture(
        "Style transfer",
        "The Mona Lisa in the style of The Starry Night, with the same network (figure 8.8).",
        "style.png",
        f"style {DATA}/images/portrait_mona_lisa.jpg {DATA}/images/starry_night.jpg",
        "style_transfer",
    ),
    Picture(
        "Grad-CAM: where is the elephant?",
        'Which parts of the book\'s photo support the class "African elephant", for MobileNetV2 with the weights of '
        "ImageNet (figure 5.36).",
        "elephants.png",
        f"explain imagenet_classifier {DATA}/images/creative_commons_elephant.jpg",
        "imagenet_classifier",
    ),
    Picture(
        "Grad-CAM: why a cat?",
        "Which parts of a test photo support the predicted class, for a convnet after six epochs.",
        "gradcam.png",
        f"explain cats_dogs_convnet {DATA}/cats_vs_dogs_small/test/cats/cat.1527.jpg",
        "cats_dogs_convnet",
    ),
    Picture(
        "Activations of the first layers",
        "Each channel of the first pooling layer for one handwritten digit (figure 5.27).",
        "layers.png",
        "activations mnist_convnet digit.png",
        "mnist_convnet",
    ),
    Picture(
        "Filter patterns",
        "The pattern that maximises each filter of its second convolution (figure 5.33).",
        "filters.png",
        "filters mnist_convnet",
        "mnist_convnet",
    ),
)


@click.command()
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), default=Path("gallery"), show_default=True)
@click.option("--only", multiple=True, metavar="FILE", help="Make this picture; repeatable.  [default: all]")
def gallery(work: Path, only: tuple[str, ...]) -> None:
    """Train the models that WORK does not have yet, make the pictures and write the page."""
    if not os.environ.get("BOOKSERVE_DATA"):
        raise click.ClickException("BOOKSERVE_DATA must name the folder of the real data (see trainers/datasets/).")
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    runs, models = work / "runs", work / "models"
    chosen = [picture for picture in PICTURES if not only or picture.file in only]
    for task in dict.fromkeys(picture.model for picture in chosen):
        options = TRAIN[task]
        if not any(found.finished for found in run.list_runs(runs, task)):
            _bookserve(work, f"train {task} {options} --runs {runs}")
        if not bundle.versions(models, task):
            _bookserve(work, f"export {task} --runs {runs} --models {models}")
        if task == "mnist_convnet":
            digit = bundle.open_bundle(models, task).examples().rows[0]
            (work / "digit.png").write_bytes(pictures.encode_png(digit))
    with _server(models) as url:
        for picture in chosen:
            _make(work, picture, url)
    (DOCS / "gallery.md").write_text(_page(), "utf-8")
    size = sum(path.stat().st_size for path in map(_path, PICTURES))
    click.echo(f"{DOCS / 'gallery.md'}: {len(PICTURES)} pictures, {size / 1e6:.2f} MB")


def _make(work: Path, picture: Picture, url: str) -> None:
    written = work / picture.file
    if picture.file in ("layers.png", "filters.png"):  # commands that write a picture for each layer: the second one
        _bookserve(work, f"{picture.command} -o {written.with_suffix('')} --url {url}")
        written = next(written.with_suffix("").glob("2_*.png"))
    else:
        _bookserve(work, f"{picture.command} -o {written} --url {url}")
    shutil.copy(written, _path(picture))


def _path(picture: Picture) -> Path:
    return DOCS / "pictures" / picture.file


def _page() -> str:
    parts = [
        "# Gallery\n\nMade by `make gallery` from models trained on real data. Each picture was written by the command "
        "below it.\nThe models: "
        + ", ".join(f"`{' '.join(('bookserve train', task, options)).strip()}`" for task, options in TRAIN.items())
        + ".\n"
    ]
    for picture in PICTURES:
        parts.append(f"## {picture.title}\n\n{picture.about}\n\n![{picture.title}](pictures/{picture.file})\n")
        parts.append(f"{NOT_RUN}\n```sh\nbookserve {picture.command}\n```\n")
    return "\n".join(parts)


def _bookserve(work: Path, words: str) -> None:
    arguments = shlex.split(os.path.expandvars(words))
    click.echo(f"bookserve {words}")
    subprocess.run([sys.executable, "-m", "bookserve", *arguments], check=True, cwd=work)


@contextmanager
def _server(models: Path) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "bookserve",
        "serve",
        str(models),
        "--json",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready:
                raise click.ClickException("the server did not start.")
            yield json.loads(ready)["http"]
        finally:
            process.terminate()


if __name__ == "__main__":
    gallery()

"""CIFAR-10: the 5,000 frogs among its 50,000 training pictures of 32×32 pixels.

The sample is drawn: green and brown frogs with two eyes, on grounds of any colour.
Source: Krizhevsky 2009, www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np

from bookserve import images as pictures
from bookserve.errors import Failed
from trainers.datasets.source import Kind, file, reading

# The form for C programs: the one for Python is made of pickles, which run any code where they are read carelessly.
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5 = "md5:c32a1d4ab5d03f1284b67883e8d87530"
_FROG = 6


def frogs(kind: Kind) -> np.ndarray:
    """Pictures uint8 [n, 32, 32, 3]; real are the 5,000 of the training part, in Keras's order."""
    return _real() if kind == "real" else _sample()


def _real() -> np.ndarray:
    given = os.environ.get("BOOKSERVE_DATA")
    strips = sorted((Path(given) / "cifar10").glob("frogs_train_*.png")) if given else []
    if strips:  # pictures one above the other, without loss
        parts = []
        for path in strips:
            with reading(path):
                parts.append(pictures.decode_image(path.read_bytes()).reshape(-1, 32, 32, 3))
        return np.concatenate(parts)
    path = file("cifar-10-binary.tar.gz", _URL, _MD5)
    with reading(path), tarfile.open(path) as archive:
        parts = [_frogs_of(archive, f"cifar-10-batches-bin/data_batch_{number}.bin") for number in range(1, 6)]
    return np.concatenate(parts)


def _frogs_of(archive: tarfile.TarFile, name: str) -> np.ndarray:
    """The frogs of one file: records of a label and 3,072 bytes, first all reds, then greens and blues, row by row."""
    content = archive.extractfile(name)
    if content is None:
        raise Failed(f"the archive of CIFAR-10 lacks {name}.", "Put the right file there.")
    records = np.frombuffer(content.read(), np.uint8).reshape(-1, 3073)
    pictures: np.ndarray = records[records[:, 0] == _FROG, 1:].reshape(-1, 3, 32, 32)
    return pictures.transpose(0, 2, 3, 1)


def _sample() -> np.ndarray:
    """600 frogs: a round body, two eyes on top of it, four feet."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    rows = []
    for _ in range(600):
        ground = tuple(int(value) for value in rng.integers(90, 240, 3))
        green = int(rng.integers(90, 180))
        skin = (int(green * rng.uniform(0.3, 0.9)), green, int(green * rng.uniform(0.1, 0.4)))
        picture = Image.new("RGB", (64, 64), ground)
        draw = ImageDraw.Draw(picture)
        x, y, r = rng.uniform(26, 38), rng.uniform(34, 42), rng.uniform(14, 20)
        for side in (-1, 1):
            draw.ellipse((x + side * r * 0.9 - 6, y + r * 0.3, x + side * r * 0.9 + 6, y + r * 0.9), skin)
        draw.ellipse((x - r, y - r * 0.75, x + r, y + r * 0.75), skin)
        for side in (-1, 1):
            eye = x + side * r * 0.5
            draw.ellipse((eye - 5, y - r - 3, eye + 5, y - r + 7), (235, 235, 200))
            draw.ellipse((eye - 2, y - r, eye + 2, y - r + 4), (10, 10, 10))
        rows.append(np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR)))
    return np.stack(rows)

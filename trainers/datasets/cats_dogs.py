"""Load photos of cats and dogs: for each kind, 1,000 to train, 500 to validate and 500 to test.

The sample is drawn: heads with pointed or hanging ears in random colours, sizes and positions.
Source: Kaggle's Dogs vs. Cats (Asirra); the book uses the first 2,000 photos of each kind (section 5.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bookserve.steps import Image
from trainers.datasets.dataset import DataSet, Kind, Split, user_data_path

_HOW = (
    "Unpack train.zip of www.kaggle.com/c/dogs-vs-cats there, so that cats_vs_dogs_small/train/cat.0.jpg exists, "
    "or copy the photos into cats_vs_dogs_small/{train,validation,test}/{cats,dogs}/ as the book does."
)
#: How many test photos tell whether all were reduced to one size.
_SEEN = 40
_RANGES = {"train": range(1000), "validation": range(1000, 1500), "test": range(1500, 2000)}


def load(kind: Kind, size: int = 150) -> DataSet:
    """Pictures uint8 [n, size, size, 3] and labels int64 [n] (1: dog); cats come first."""
    return _real(size) if kind == "real" else _sample(size)


def _real(size: int) -> DataSet:
    folder = user_data_path("cats_vs_dogs_small", _HOW)
    train, validation, test = (_photos(folder, part, size) for part in _RANGES)
    about = f"Dogs vs. Cats: 2,000 photos, 1,000 to validate, and 1,000 to test{_reduced_size(folder)}"
    return DataSet(about, train, test, _few_examples(test), validation=validation)


def _reduced_size(folder: Path) -> str:
    """A remark if the photos were reduced: in Kaggle's files the shorter side differs from photo to photo."""
    from PIL import Image as Pillow

    shorter = []
    for path in _paths(folder, "test")[:_SEEN]:
        with Pillow.open(path) as photo:
            shorter.append(min(photo.size))
    largest = max(shorter)
    return f" (reduced: the shorter side has {largest} pixels)" if shorter.count(largest) > len(shorter) / 2 else ""


def _photos(folder: Path, part: str, size: int) -> Split:
    """The photos of one part, from the book's folders or from Kaggle's unpacked zip file."""
    paths, labels = _paths(folder, part), np.repeat((0, 1), len(_RANGES[part]))
    missing = [path for path in paths if not path.is_file()]
    if missing:
        _raise_missing_photos(folder, missing)
    read = Image(size, size)
    with ThreadPoolExecutor() as threads:
        rows = np.concatenate(list(threads.map(lambda path: read([path.read_bytes()]), paths)))
    return Split(rows, labels)


def _paths(folder: Path, part: str) -> list[Path]:
    """The files of one part, cats first."""
    kaggle = (folder / "train" / "cat.0.jpg").exists()
    kinds = {kind: Path("train") if kaggle else Path(part) / f"{kind}s" for kind in ("cat", "dog")}
    return [folder / inner / f"{kind}.{number}.jpg" for kind, inner in kinds.items() for number in _RANGES[part]]


def _raise_missing_photos(folder: Path, missing: Sequence[Path]) -> None:
    """Raise NotFound with the number of missing photos and the first of them."""
    from bookserve.errors import NotFound

    first = missing[0].relative_to(folder)
    raise NotFound(f"{folder} lacks {len(missing):,} photos, {first} the first of them.", _HOW)


def _sample(size: int) -> DataSet:
    rng = np.random.default_rng(0)
    parts = []
    for count in (400, 100, 100):
        labels = np.arange(count) * 2 // count
        parts.append(Split(np.stack([_draw_head(bool(label), size, rng) for label in labels]), labels))
    train, validation, test = parts
    about = "400 drawn heads of cats and dogs, 100 to validate, and 100 to test"
    return DataSet(about, train, test, _few_examples(test), validation=validation)


def _draw_head(dog: bool, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a round head with eyes and a nose; a cat's ears point up, a dog's ears hang at the sides."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    ground, fur, ear = (tuple(int(value) for value in rng.integers(20, 236, 3)) for _ in range(3))
    picture = Pillow.new("RGB", (96, 96), ground)
    draw = ImageDraw.Draw(picture)
    x, y, r = rng.uniform(38, 58), rng.uniform(42, 56), rng.uniform(16, 26)
    draw.ellipse((x - r, y - r, x + r, y + r), fur)
    for side in (-1, 1):
        if dog:
            draw.ellipse((x + side * r * 1.05 - r * 0.35, y - r * 0.6, x + side * r * 1.05 + r * 0.35, y + r), ear)
        else:
            tip = (x + side * r * 0.95, y - r * 1.6)
            draw.polygon([tip, (x + side * r * 0.15, y - r * 0.9), (x + side * r, y - r * 0.2)], ear)
        draw.ellipse((x + side * r * 0.4 - 2, y - 5, x + side * r * 0.4 + 2, y - 1), (10, 10, 10))
    draw.ellipse((x - 3, y + 3, x + 3, y + 7), (40, 20, 20))
    small = picture.resize((size, size), Pillow.Resampling.BILINEAR)
    noisy = np.asarray(small, np.int16) + rng.integers(-15, 16, (size, size, 3), np.int16)
    clipped: np.ndarray = np.clip(noisy, 0, 255)
    return clipped.astype(np.uint8)


def _few_examples(test: Split) -> np.ndarray:
    """Eight pictures, alternating cats and dogs."""
    half = len(test.labels) // 2
    index = np.array([place for pair in zip(range(4), range(half, half + 4), strict=True) for place in pair])
    few: np.ndarray = np.asarray(test.rows)[index]
    return few

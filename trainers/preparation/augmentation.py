"""Augment pictures: rotate, shift, shear, stretch and flip them at random; write digits in another hand."""

from __future__ import annotations

import numpy as np

from bookserve import digits
from trainers.datasets.arrays import Augment


def random_affine(*, turn: float, shift: float, shear: float, zoom: float, flip: bool) -> Augment:
    """A function that applies random affine transformations to pictures uint8 [n, height, width, 3].

    Areas from outside the picture get the colour of the nearest edge pixel. ``turn`` is the largest rotation in degrees
    and ``shear`` the largest shear angle in radians, both in either direction; ``shift`` is a share of the size, and
    ``zoom`` the largest share by which each axis is stretched or shrunk. Source: section 5.2.5, listing 5.11.
    """

    def augment(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.stack([_transform(row, _matrix(row.shape[:2], rng)) for row in rows])

    def _matrix(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """The matrix from positions (x, y, 1) in the new picture to positions in the old one."""
        angle = np.radians(rng.uniform(-turn, turn))
        slant = rng.uniform(-shear, shear)
        down, right = rng.uniform(-shift, shift, 2) * size
        high, wide = rng.uniform(1 - zoom, 1 + zoom, 2)
        mirror = -1.0 if flip and rng.random() < 0.5 else 1.0
        cos, sin = np.cos(angle), np.sin(angle)
        turned = np.array([[cos, -sin, right], [sin, cos, down], [0, 0, 1]])
        sheared = np.array([[np.cos(slant), 0, 0], [-np.sin(slant), 1, 0], [0, 0, 1]])
        stretched = np.diag([wide * mirror, high, 1.0])
        centre = np.array([[1, 0, size[1] / 2], [0, 1, size[0] / 2], [0, 0, 1]])
        change: np.ndarray = centre @ turned @ sheared @ stretched @ np.linalg.inv(centre)
        return change

    return augment


def _transform(row: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    from PIL import Image

    height, width = row.shape[:2]
    top, left = height // 2, width // 2
    # Half a picture more on each side, in the colours of the edge; Pillow does this faster than NumPy.
    picture = Image.fromarray(row)
    wide = Image.new("RGB", (width + 2 * left, height))
    wide.paste(picture, (left, 0))
    wide.paste(picture.crop((0, 0, 1, height)).resize((left, height), Image.Resampling.NEAREST), (0, 0))
    right = picture.crop((width - 1, 0, width, height))
    wide.paste(right.resize((left, height), Image.Resampling.NEAREST), (left + width, 0))
    padded = Image.new("RGB", (wide.width, height + 2 * top))
    padded.paste(wide, (0, top))
    first, last = (wide.crop((0, y, wide.width, y + 1)) for y in (0, height - 1))
    padded.paste(first.resize((wide.width, top), Image.Resampling.NEAREST), (0, 0))
    padded.paste(last.resize((wide.width, top), Image.Resampling.NEAREST), (0, top + height))
    matrix = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]]) @ matrix
    coefficients = tuple(matrix[:2].ravel().tolist())
    return np.asarray(
        padded.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    )


def random_handwriting(
    *, share: float, turn: float = 10.0, slant: float = 0.25, stretch: float = 0.2, coarse: float = 0.3
) -> Augment:
    """A function that writes a random ``share`` of digits uint8 [n, 28, 28] in another hand.

    ``turn`` is the largest rotation in degrees, ``slant`` the largest slant as shift to the side by height, and
    ``stretch`` the largest share by which the width is changed, all in either direction. A share ``coarse`` of these
    digits has only 8 to 14 pixels a side, as small pictures have. Digits are boxed and centred again, as MNIST's are
    (``bookserve/digits.py``).
    """

    def augment(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changed = rows.copy()
        for index in np.flatnonzero(rng.random(len(rows)) < share):
            angle = np.radians(rng.uniform(-turn, turn))
            lean, wide = rng.uniform(-slant, slant), 1 + rng.uniform(-stretch, stretch)
            drawn = _written(rows[index], angle, lean, wide)
            changed[index] = _seen_small(drawn, int(rng.integers(8, 15))) if rng.random() < coarse else drawn
        return changed

    return augment


def _seen_small(row: np.ndarray, pixels: int) -> np.ndarray:
    """A digit uint8 [28, 28] as the Step reads it from a picture of so many pixels a side."""
    from PIL import Image

    digit = Image.fromarray(row)
    digit = digit.crop(digit.getbbox())
    width, height = (max(1, round(side * pixels / max(digit.size))) for side in digit.size)
    small = np.asarray(digit.resize((width, height), Image.Resampling.BOX))
    seen: np.ndarray = digits.normalise_digits([np.pad(small, 1)])[0]
    return seen


def _written(row: np.ndarray, angle: float, lean: float, wide: float) -> np.ndarray:
    """A digit uint8 [28, 28], drawn four times as large with another angle, slant and width, and boxed to 28 × 28."""
    from PIL import Image

    large = 4 * digits.SIDE
    cos, sin = np.cos(angle), np.sin(angle)
    change = np.array([[cos, -sin], [sin, cos]]) @ np.array([[wide, lean], [0, 1]]) * 0.3  # larger than 1/4: a margin
    offset = digits.SIDE / 2 - change @ [large / 2, large / 2]
    coefficients = (*change[0], offset[0], *change[1], offset[1])
    drawn = Image.fromarray(row).transform(
        (large, large), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
    )
    return digits.box_and_centre(np.asarray(drawn))

"""Bring a handwritten digit into the form of MNIST's pictures: light on black, 20 pixels long, centred by its mass.

This is what MNIST's makers did with NIST's scans (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist), and what
comes before it where people draw or photograph a digit: paper, light, specks and the pen's width are taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput

#: Width and height of MNIST's pictures, and the length of the longer side of a digit in them.
SIDE, BOX = 28, 20

#: The ink is looked for in a picture of at most this many pixels a side.
SEARCHED = 512
#: Width and height of the coarse pictures in which light is measured and pieces of ink are told apart. Smaller
#: pictures have no uneven light and no table beside the paper: all of their ink is the digit.
_COARSE = 64
#: The share of the paper's light that ink takes away at least: on even paper, and on any.
_FAINTEST, _CLEAR = 0.08, 0.3
#: Ink has at least this many times the contrast that 70 of 100 pixels exceed; for grain alone, 6 standard deviations.
_NOISE = 16
#: Ink has at least this share of the darkest ink's contrast.
_EDGE = 0.45
#: A piece belongs to the digit if it has this share of the ink of the largest piece, and lies this near to it, as a
#: share of that piece's length: the bar of a 5 does, a speck and the next digit do not.
_PIECE, _NEAR = 0.06, 0.25
#: Pieces with less ink than this share of the table's are specks.
_SPECK = 0.005
#: The pen is made as wide as nine tenths of MNIST's are, in pixels of a digit of 20 pixels.
_THINNEST, _THICKEST = 2.2, 3.8
#: The digit is boxed, and its pen changed, at this many times its final size.
_FINER = 4
_ONES, _PLACES = np.ones(SIDE, np.float32), np.arange(SIDE, dtype=np.float32)


def normalise_digits(pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Grey pictures of one digit each, uint8 [height, width] of any size and either polarity → uint8 [rows, 28, 28].

    Pictures that have the form of MNIST's already, or its negative, keep their pixels.

    Raises:
        InvalidInput: there is no ink in a picture.
    """
    if isinstance(pictures, np.ndarray) and pictures.shape[1:] == (SIDE, SIDE):
        batch = pictures
    else:
        batch = np.zeros((len(pictures), SIDE, SIDE), np.uint8)
        for index, picture in enumerate(pictures):
            if picture.shape == (SIDE, SIDE):
                batch[index] = picture
    left = np.flatnonzero(~_is_normalised(batch))
    if not len(left):
        return batch
    negative = 255 - batch[left]
    found = _is_normalised(negative)
    batch = batch.copy()
    batch[left[found]] = negative[found]
    for index in left[~found]:
        batch[index] = _normalise(pictures[index])
    return batch


def box_and_centre(ink: np.ndarray) -> np.ndarray:
    """Ink uint8 of any size → its box with a longer side of 20 pixels, the centre of mass in the middle of 28 × 28."""
    digit = _resized(ink, BOX)
    rows, columns = digit.sum(axis=1, dtype=np.float64), digit.sum(axis=0, dtype=np.float64)
    corner = [
        int(np.clip(round(SIDE / 2 - sums @ np.arange(len(sums)) / sums.sum()), 0, SIDE - len(sums)))
        for sums in (rows, columns)
    ]
    centred = np.zeros((SIDE, SIDE), np.uint8)
    centred[corner[0] : corner[0] + digit.shape[0], corner[1] : corner[1] + digit.shape[1]] = digit
    return centred


def _is_normalised(pixels: np.ndarray) -> np.ndarray:
    """Which pictures uint8 [rows, 28, 28] have the form of MNIST's: bool [rows].

    The longer side of the ink is 20 pixels (in a few 19), and the centre of its mass is nearest to the middle. Each of
    MNIST's 70,000 pictures is so.
    """
    ink = pixels.astype(np.float32)
    down, across = ink @ _ONES, _ONES @ ink
    mass = down @ _ONES
    long = np.maximum(_extent(down), _extent(across))
    offsets = (np.abs(sums @ _PLACES - mass * (SIDE / 2)) for sums in (down, across))
    near, beside = (offset < mass * 0.53 for offset in offsets)
    normalised: np.ndarray = near & beside & (long >= BOX - 1) & (long <= BOX)
    return normalised


def _normalise(grey: np.ndarray) -> np.ndarray:
    from PIL import Image

    return box_and_centre(_adjust_pen(_cut_out(Image.fromarray(grey))))


def _extent(sums: np.ndarray) -> np.ndarray:
    """Distance from the first to the last number above 0 in each row of [rows, 28]; 28 where there is none."""
    present = sums > 0
    extent: np.ndarray = SIDE - present.argmax(axis=1) - present[:, ::-1].argmax(axis=1)
    return extent


def _cut_out(picture: Any) -> np.ndarray:
    """The digit's ink, float32 [height, width] from 0 to 1, 0 where other things are."""
    contrast = _contrast(picture)
    cell = -(-max(contrast.shape) // _COARSE)
    smooth, faintest = contrast, _FAINTEST
    if cell > 1:
        smooth = _smoothed(contrast)
        grain = float(np.quantile(np.abs(smooth[::cell, ::cell]), 0.3))
        faintest = float(np.clip(_NOISE * grain, _FAINTEST, _CLEAR))
    peak = float(smooth.max())
    if peak < faintest:
        raise InvalidInput(
            "there is no ink in the picture.", "Send one digit, clearly darker or lighter than its paper."
        )
    digit = np.zeros(0, bool)
    searched = smooth
    while not digit.any():
        mass = _cell_sums(np.where(searched > _EDGE * peak, searched, 0), cell)
        labels = _label(mass > 0)
        masses = np.bincount(labels.ravel(), mass.ravel())
        beside = _beside_the_paper(labels) if cell > 1 else np.zeros(len(masses), bool)
        only_specks = masses[~beside].max() < _SPECK * masses.max()
        rest = searched * _repeat(~_grown(mass > 0), cell, searched.shape)
        if only_specks and rest.max() >= faintest:  # the digit is fainter than the table beside its paper
            searched, peak = rest, float(rest.max())
        else:  # a digit that is cut out narrowly lies along the border, too
            digit = _digit_pieces(labels, masses if only_specks else np.where(beside, 0, masses))
    region = _repeat(_grown(digit), cell, smooth.shape)
    ink = np.where(region, contrast, 0)
    full = np.quantile(smooth[region & (smooth > _EDGE * peak)], 0.7)
    share: np.ndarray = np.clip(ink / full, 0, 1)
    return share


def _contrast(picture: Any) -> np.ndarray:
    """The share of the paper's light that is missing in each pixel: float32 [height, width], about 0 for paper.

    Light ink on dark paper is inverted. The paper's light is a parabola through most pixels, times what a pen's width
    of darkness does not change (a morphological closing).
    """
    grey = np.asarray(picture, np.float32)
    border = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    scale = _COARSE / max(grey.shape)
    if scale >= 1:
        dark = border < (float(grey.min()) + float(grey.max())) / 2
        contrast: np.ndarray = (grey - border if dark else border - grey) / max(255 - border if dark else border, 1)
        return contrast
    from PIL import Image

    size = [max(1, round(side * scale)) for side in picture.size]
    coarse = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32)
    light = _parabola(coarse, float(np.median(coarse)))
    if (((coarse - light) / 255) ** 3).sum() > 0:  # the few pixels that are not paper are lighter
        grey, coarse, light = 255 - grey, 255 - coarse, 255 - light
    light = np.maximum(light, 1)
    light = light * _closed(coarse / light, max(coarse.shape) // 4)
    paper = np.asarray(Image.fromarray(light).resize(picture.size, Image.Resampling.BILINEAR), np.float32)
    contrast = 1 - grey / np.maximum(paper, 1)
    contrast -= np.median(contrast[::4, ::4])
    return contrast


def _parabola(grey: np.ndarray, start: float) -> np.ndarray:
    """Fit a polynomial of degree 2 to most pixels of [height, width], leaving out what lies far from it."""
    y, x = np.mgrid[-1 : 1 : grey.shape[0] * 1j, -1 : 1 : grey.shape[1] * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    few, values = terms[:, ::2, ::2].reshape(6, -1), grey[::2, ::2].ravel().astype(np.float64)
    factors = np.array([start, 0, 0, 0, 0, 0])
    for _ in range(6):
        distance = np.abs(values - factors @ few)
        kept = few * (distance <= max(2.5 * float(np.median(distance)), 3.0))
        factors = np.linalg.lstsq(kept @ few.T, kept @ values, rcond=None)[0]
    return np.asarray(np.tensordot(factors, terms, 1), np.float32)


def _closed(grey: np.ndarray, radius: int) -> np.ndarray:
    """Morphological closing of [height, width] with a square: dark parts narrower than it vanish."""
    for best in (np.max, np.min):
        for axis in (0, 1):
            pads = [(radius, radius) if axis == side else (0, 0) for side in (0, 1)]
            padded = np.pad(grey, pads, mode="edge")
            grey = best(np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis), axis=-1)
    return grey


def _smoothed(grey: np.ndarray) -> np.ndarray:
    """Each pixel's mean over 3 × 3."""
    padded = np.pad(grey, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    smoothed: np.ndarray = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return smoothed


def _cell_sums(grey: np.ndarray, cell: int) -> np.ndarray:
    """Sums over cells of ``cell`` × ``cell`` pixels."""
    pads = [(0, -side % cell) for side in grey.shape]
    padded = np.pad(grey, pads)
    sums: np.ndarray = padded.reshape(padded.shape[0] // cell, cell, -1, cell).sum(axis=(1, 3))
    return sums


def _repeat(cells: np.ndarray, cell: int, shape: tuple[int, ...]) -> np.ndarray:
    """Cells as pixels [*shape]: the opposite of ``_cell_sums``."""
    return cells.repeat(cell, axis=0).repeat(cell, axis=1)[: shape[0], : shape[1]]


def _grown(mask: np.ndarray) -> np.ndarray:
    """Mask [height, width] with its neighbours in eight directions."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    grown: np.ndarray = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return grown


def _label(mask: np.ndarray) -> np.ndarray:
    """Number the pieces of mask [height, width] that touch each other, in eight directions, from 1; 0 outside."""
    inside = np.flatnonzero(np.pad(mask, 1))
    wide = mask.shape[1] + 2
    number = np.full((mask.shape[0] + 2) * wide, -1)
    number[inside] = np.arange(len(inside))
    pairs = [np.stack([number[inside], number[inside + step]]) for step in (1, wide - 1, wide, wide + 1)]
    left, right = np.concatenate([pair[:, pair[1] >= 0] for pair in pairs], axis=1)
    label = np.arange(len(inside))
    while not np.array_equal(label[left], label[right]):
        low = np.minimum(label[left], label[right])
        np.minimum.at(label, label[left], low)
        np.minimum.at(label, label[right], low)
        label = label[label]
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.unique(label, return_inverse=True)[1] + 1
    return labels


def _beside_the_paper(labels: np.ndarray) -> np.ndarray:
    """Which pieces lie along the picture's border, as the table or the edge of the paper does: bool [pieces + 1]."""
    border = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    lengths = np.bincount(border, minlength=labels.max() + 1)
    long: np.ndarray = lengths > max(labels.shape) / 4
    long[0] = False
    return long


def _digit_pieces(labels: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """The cells of the piece with the largest mass, and of those that belong to it: bool [height, width]."""
    main = labels == masses.argmax()
    down, across = (np.flatnonzero(main.any(axis=axis)) for axis in (1, 0))
    reach = round(_NEAR * max(np.ptp(down), np.ptp(across)) + 1)
    around = labels[max(0, down[0] - reach) : down[-1] + 1 + reach, max(0, across[0] - reach) : across[-1] + 1 + reach]
    pieces = [piece for piece in np.unique(around) if masses[piece] >= _PIECE * masses.max()]
    return np.isin(labels, pieces)


def _adjust_pen(ink: np.ndarray) -> np.ndarray:
    """Ink [height, width] from 0 to 1 → uint8 [height, width] of 0 and 255, four times as large as it will be.

    A pen that is thinner or thicker than MNIST's gets the width of one of those.
    """
    from PIL import Image

    large = _resized(ink, BOX * _FINER)
    mask = np.pad(large > large.max() / 2, 2 * _FINER)
    outline = mask & _grown_straight(~mask)
    width = 2 * mask.sum() / outline.sum() / _FINER
    for index in range(round(abs(width - np.clip(width, _THINNEST, _THICKEST)) * _FINER / 2)):
        grow = _grown if index % 2 else _grown_straight  # by turns, so that a dot grows to an octagon
        mask = grow(mask) if width < _THINNEST else ~grow(~mask)
    return np.asarray(Image.fromarray(mask).convert("L"))


def _grown_straight(mask: np.ndarray) -> np.ndarray:
    """Mask [height, width] with its neighbours in four directions."""
    padded = np.pad(mask, 1)
    grown: np.ndarray = mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown


def _resized(ink: np.ndarray, length: int) -> np.ndarray:
    """The part of [height, width] above half of its maximum, with a longer side of ``length`` pixels: uint8."""
    from PIL import Image

    present = ink > ink.max() / 2
    down, across = (np.flatnonzero(present.any(axis=axis)) for axis in (1, 0))
    box = (int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1)
    size = np.array([box[2] - box[0], box[3] - box[1]])
    target = np.maximum(1, np.rint(size * length / size.max())).astype(int)
    grey = Image.fromarray(np.asarray(ink * (255 if ink.max() <= 1 else 1), np.uint8))
    return np.asarray(grey.resize(tuple(target.tolist()), Image.Resampling.BICUBIC, box=box))

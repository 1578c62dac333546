"""Draw digits as people send them: strokes of a pen on a page, a photo of it, a blackboard or a canvas.

A digit is a few curves through control points, changed at random (points, slant, rotation, proportions, pen). Nothing
is taken from MNIST, so these pictures judge a model that was trained on it.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

#: Ways in which a digit reaches a model.
WAYS = ("centred", "corner", "small", "thin", "thick", "squared paper", "photo", "light on dark", "canvas")

Point = tuple[float, float]
#: A curve through points; a point that is given twice is a corner.
Stroke = tuple[Point, ...]

#: Digit → the forms in which it is written: strokes in a box of height 1, x to the right and y down.
FORMS: tuple[tuple[tuple[Stroke, ...], ...], ...] = (
    (
        (
            (
                (0.36, 0),
                (0.08, 0.22),
                (0, 0.55),
                (0.12, 0.9),
                (0.34, 1),
                (0.6, 0.84),
                (0.68, 0.5),
                (0.6, 0.14),
                (0.36, 0),
            ),
        ),
    ),
    ((((0.3, 0), (0.3, 1)),), (((0.12, 0.24), (0.36, 0), (0.36, 0), (0.36, 1)),)),
    (
        (((0.05, 0.25), (0.15, 0.05), (0.4, 0), (0.6, 0.16), (0.54, 0.42), (0.3, 0.7), (0, 1), (0, 1), (0.66, 1)),),
        (
            (
                (0.05, 0.2),
                (0.3, 0),
                (0.58, 0.14),
                (0.5, 0.5),
                (0.26, 0.86),
                (0.06, 0.98),
                (0.04, 0.82),
                (0.26, 0.84),
                (0.66, 0.98),
            ),
        ),
    ),
    (
        (
            (
                (0.05, 0.1),
                (0.3, 0),
                (0.55, 0.14),
                (0.48, 0.38),
                (0.22, 0.47),
                (0.22, 0.47),
                (0.54, 0.58),
                (0.6, 0.82),
                (0.34, 1),
                (0.02, 0.9),
            ),
        ),
    ),
    (
        (((0.16, 0), (0.04, 0.55), (0.04, 0.55), (0.66, 0.54)), ((0.5, 0.16), (0.45, 1))),
        (((0.48, 1), (0.5, 0), (0.5, 0), (0, 0.66), (0, 0.66), (0.68, 0.66)),),
    ),
    (
        (
            ((0.14, 0.02), (0.1, 0.43), (0.1, 0.43), (0.36, 0.36), (0.6, 0.56), (0.57, 0.85), (0.3, 1), (0.02, 0.9)),
            ((0.14, 0.02), (0.6, 0)),
        ),
    ),
    (
        (
            (
                (0.5, 0),
                (0.2, 0.25),
                (0.03, 0.64),
                (0.14, 0.94),
                (0.4, 1),
                (0.58, 0.8),
                (0.5, 0.6),
                (0.28, 0.55),
                (0.06, 0.72),
            ),
        ),
    ),
    (
        (((0.02, 0.04), (0.62, 0), (0.62, 0), (0.25, 1)),),
        (((0.02, 0.04), (0.62, 0), (0.62, 0), (0.25, 1)), ((0.14, 0.52), (0.58, 0.5))),
    ),
    (
        (
            (
                (0.56, 0.14),
                (0.36, 0),
                (0.12, 0.1),
                (0.14, 0.34),
                (0.36, 0.5),
                (0.58, 0.7),
                (0.52, 0.94),
                (0.3, 1),
                (0.06, 0.9),
                (0.08, 0.66),
                (0.34, 0.48),
                (0.54, 0.32),
                (0.56, 0.14),
            ),
        ),
    ),
    (
        (
            (
                (0.58, 0.2),
                (0.4, 0.02),
                (0.14, 0.06),
                (0.04, 0.28),
                (0.16, 0.48),
                (0.42, 0.44),
                (0.58, 0.2),
                (0.58, 0.2),
                (0.52, 1),
            ),
        ),
        (
            (
                (0.58, 0.2),
                (0.4, 0.02),
                (0.14, 0.06),
                (0.04, 0.28),
                (0.16, 0.48),
                (0.42, 0.44),
                (0.58, 0.2),
                (0.58, 0.2),
                (0.56, 0.6),
                (0.42, 0.9),
                (0.16, 1),
            ),
        ),
    ),
)


def drawn_digits(each: int, seed: int = 0, ways: tuple[str, ...] = WAYS) -> list[tuple[str, int, bytes]]:
    """``each`` pictures of every digit in every way: (way, digit, the bytes of a PNG or JPEG file)."""
    rng = np.random.default_rng(seed)
    return [(way, digit, draw_digit(digit, way, rng)) for way in ways for digit in range(10) for _ in range(each)]


def draw_digit(digit: int, way: str, rng: np.random.Generator) -> bytes:
    """One picture of ``digit``, drawn in that way (one of ``WAYS``), as the bytes of a PNG file; a photo as JPEG."""
    from PIL import Image

    width, height = (720, 960) if way == "photo" else (280, 280) if rng.random() < 0.5 else (400, 300)
    side = min(width, height)
    tall = side * rng.uniform(
        *{"corner": (0.22, 0.32), "small": (0.1, 0.16), "photo": (0.15, 0.6)}.get(way, (0.5, 0.75))
    )
    pen = tall * rng.uniform(*{"thin": (0.012, 0.025), "thick": (0.15, 0.2)}.get(way, (0.06, 0.11)))
    curves = _curves(FORMS[digit][rng.integers(len(FORMS[digit]))], rng)
    points = np.concatenate(curves)
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    free = np.array([width, height]) - size * tall - pen
    corner = pen / 2 + free * (
        rng.choice([0.04, 0.96], 2)
        if way == "corner"
        else rng.random(2)
        if way == "small"
        else rng.uniform(0.35, 0.65, 2)
    )
    ink = _draw_lines([(curve - low) * tall + corner for curve in curves], pen, (width, height))
    buffer = io.BytesIO()
    match way:
        case "photo":
            Image.fromarray(_photograph(ink, rng)).save(buffer, "JPEG", quality=int(rng.integers(60, 92)))
        case "light on dark":
            dark, light = rng.uniform(0, 60), rng.uniform(170, 255)
            Image.fromarray(np.rint(dark + (light - dark) * ink).astype(np.uint8)).save(buffer, "PNG")
        case "canvas":
            strokes = np.zeros((height, width, 4), np.uint8)
            strokes[..., :3] = rng.choice([0, 255]) if rng.random() < 0.5 else rng.integers(0, 256, 3)
            strokes[..., 3] = np.rint(255 * ink)
            Image.fromarray(strokes).save(buffer, "PNG")
        case _:
            paper, colour = rng.uniform(225, 255), rng.uniform(0, 90, 3)
            page = paper + (colour - paper) * ink[..., None]
            if way == "squared paper":
                square, line = int(rng.integers(18, 40)), rng.uniform(0.65, 0.85)
                page[square // 2 :: square] *= line
                page[:, square // 3 :: square] *= line
            Image.fromarray(np.rint(page).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _curves(form: tuple[Stroke, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """The strokes of a form with random changes, each as points float64 [n, 2] close to one another."""
    turn, slant, wide = rng.normal(0, 0.08), rng.normal(0.08, 0.12), rng.uniform(0.75, 1.15)
    change = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array(
        [[wide, -slant], [0, 1]]
    )
    moved: dict[Point, np.ndarray] = {}  # a point that several strokes share moves once
    return [
        _spline(np.array([moved.setdefault(p, np.array(p) + rng.normal(0, 0.018, 2)) for p in stroke])) @ change.T
        for stroke in form
    ]


def _spline(points: np.ndarray, steps: int = 12) -> np.ndarray:
    """A Catmull-Rom curve through points [n, 2]; equal neighbours make a corner."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        if not np.array_equal(b, c):
            pieces.append(b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.concatenate(pieces)


def _draw_lines(curves: list[np.ndarray], pen: float, size: tuple[int, int]) -> np.ndarray:
    """Lines of width ``pen`` through points in pixels, as ink float64 [height, width] from 0 to 1."""
    from PIL import Image, ImageDraw

    finer = 3 if max(size) < 600 else 1
    picture = Image.new("L", (size[0] * finer, size[1] * finer))
    draw, radius = ImageDraw.Draw(picture), pen * finer / 2
    for curve in curves:
        dots: list[Any] = [tuple(point) for point in (curve * finer).tolist()]
        draw.line(dots, 255, max(1, round(2 * radius)))
        for x, y in dots if radius > 2 else ():  # round ends and joints
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return np.asarray(picture.reduce(finer), np.float64) / 255


def _photograph(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo of ink on paper: uneven light, a shadow, the table beside the paper, blur and noise; uint8 [h, w, 3]."""
    from PIL import Image, ImageFilter

    height, width = ink.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    light = 1 + rng.uniform(-0.35, 0.35) * (x - 0.5) + rng.uniform(-0.35, 0.35) * (y - 0.5)
    light *= 1 - rng.uniform(0, 0.5) * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    if rng.random() < 0.5:  # the soft shadow of a hand
        light *= 1 - rng.uniform(0.1, 0.35) / (1 + np.exp((x + rng.uniform(-1, 1) * y - rng.uniform(0.2, 0.9)) * 12))
    scene = rng.uniform(0.5, 0.9) * (1 - rng.uniform(0.5, 0.85) * ink)
    edges = rng.uniform(0.02, 0.1, 4) * (rng.random(4) < rng.choice([0, 0.3, 1]))  # no table beside the paper, or some
    x_tilted, y_tilted = x + rng.uniform(-0.03, 0.03) * y, y + rng.uniform(-0.03, 0.03) * x
    left, right, top, bottom = edges
    outside = (x_tilted < left) | (x_tilted > 1 - right) | (y_tilted < top) | (y_tilted > 1 - bottom)
    scene[outside & (ink < 0.01)] = rng.uniform(0.1, 0.35)
    pixels = np.clip(255 * scene * light, 0, 255).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2))), np.float64)
    tint = rng.uniform(0.92, 1, 3)
    noisy = blurred[..., None] * tint + rng.normal(0, rng.uniform(1, 7), (height, width, 1))
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)

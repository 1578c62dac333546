"""Transform: pictures changed step by step along the gradient of a network – DeepDream and style transfer.

The loops are written once, around whatever runs the graph; they yield a picture after each stage, so that what takes
minutes can be watched. Sources: listings 8.8–8.13 and 8.14–8.22 of the book; Gatys et al. 2015 for the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays
from bookserve.steps import apply
from bookserve.verb import Dream, Style, Transform

Run = Callable[[Arrays], Arrays]

#: A network shrinks a picture so often that less leaves nothing.
_LEAST = 75


class Stage(NamedTuple):
    """What one stage of the work gave: uint8 picture [height, width, 3], and the loss before and after."""

    picture: np.ndarray
    before: float
    after: float


def transform(verb: Transform, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """Dream of one picture uint8 [1, height, width, 3], or paint the first of two in the style of the second.

    Raises:
        InvalidInput: another number of pictures, or too small ones.
    """
    wanted = 1 if isinstance(verb.method, Dream) else 2
    if len(pictures) != wanted:
        raise InvalidInput(f"pictures given: {len(pictures)}; expected {wanted}.", "Style needs two.")
    height, width = pictures.shape[1:3]
    if min(height, width) < _LEAST:
        raise InvalidInput(f"the picture has {height} × {width} pixels; expected {_LEAST} or more a side.")
    if isinstance(verb.method, Dream):
        yield from _dream(verb, verb.method, run, pictures)
    else:
        yield from _paint(verb, verb.method, run, pictures)


def octaves(height: int, width: int, method: Dream) -> list[tuple[int, int]]:
    """The sizes to dream at, smallest first; none is smaller than a network can see."""
    shapes = [(height, width)]
    for number in range(1, method.octaves + 1):
        shrunk = int(height / method.octave_scale**number), int(width / method.octave_scale**number)
        if min(shrunk) >= _LEAST:
            shapes.append(shrunk)
    return shapes[::-1]


def _dream(verb: Transform, method: Dream, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """Gradient ascent at growing sizes; the detail that shrinking lost is put back after each (figure 8.4)."""
    original = np.asarray(apply(verb.before, pictures), np.float32)
    contributions = np.array([list(method.contributions.values())], np.float32)
    shapes = octaves(pictures.shape[1], pictures.shape[2], method)
    image: np.ndarray = original
    shrunk = resized(original, shapes[0])
    for shape in shapes:
        image = resized(image, shape)
        losses = []
        for _ in range(method.iterations):
            out = run({"image": image, "contributions": contributions})
            losses.append(float(out["loss"][0]))
            if losses[-1] > method.max_loss:
                break
            image = image + method.step * _normalised(out["gradient"])
        same = resized(original, shape)
        image = image + same - resized(shrunk, shape)
        shrunk = same
        yield Stage(_pixels(verb, image), losses[0], losses[-1])


def _normalised(gradient: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = gradient / max(float(np.abs(gradient).mean()), 1e-7)
    return scaled


def _paint(verb: Transform, method: Style, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """L-BFGS on the pixels, in rounds: each begins anew where the last one ended, as the book's does."""
    from scipy.optimize import minimize

    content, style = (np.asarray(apply(verb.before, picture[None]), np.float32) for picture in pictures)
    weights = np.array([[method.content_weight, method.style_weight, method.total_variation_weight]], np.float32)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        image = flat.reshape(content.shape).astype(np.float32)
        out = run({"image": image, "content": content, "style": style, "weights": weights})
        return float(out["loss"][0]), out["gradient"].astype(np.float64).ravel()

    flat = content.astype(np.float64).ravel()
    before = loss_and_gradient(flat)[0]
    for _ in range(method.iterations):
        found = minimize(loss_and_gradient, flat, jac=True, method="L-BFGS-B", options={"maxfun": method.evaluations})
        flat = found.x
        yield Stage(_pixels(verb, flat.reshape(content.shape)), before, float(found.fun))
        before = float(found.fun)


def resized(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values float32 [n, height, width, channels] → the same in another size, bilinear."""
    from PIL import Image

    if images.shape[1:3] == shape:
        return images
    planes = images.transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3])
    size = shape[1], shape[0]
    changed = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(changed).reshape(len(images), -1, *shape).transpose(0, 2, 3, 1)


def _pixels(verb: Transform, image: np.ndarray) -> np.ndarray:
    picture: np.ndarray = np.asarray(apply(verb.after, image))[0]
    return picture

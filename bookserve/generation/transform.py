"""Transform: pictures changed step by step along the gradient of a network – DeepDream and style transfer.

The loops are written once, around whatever runs the graph; they yield a picture after each stage, so that what takes
minutes can be watched. Sources: listings 8.8–8.13 and 8.14–8.22 of the book; Gatys et al. 2015 for the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.images import decode_image
from bookserve.steps import apply_steps
from bookserve.verb import Dream, Style, Transform

#: Runs a graph by its name.
Run = Callable[[str, Arrays], Arrays]

#: A network shrinks a picture so often that less leaves nothing.
_LEAST = 75
#: Pixels; with the greatest height, what a machine of ordinary memory can take.
_WIDEST = 2048


class Stage(NamedTuple):
    """What one stage of the work gave: uint8 picture [height, width, 3], and the loss before and after."""

    picture: np.ndarray
    before: float
    after: float


class Progress(NamedTuple):
    """One run of the graph: which of how many at most, the loss it gave, and a picture where a stage has ended."""

    step: int
    steps: int
    loss: float
    picture: np.ndarray | None = None


def with_parameters(verb: Transform, params: Mapping[str, Any]) -> Transform:
    """``verb`` with other parameters; ``contributions`` name only the layers that are to count otherwise.

    Raises:
        InvalidInput: an unknown parameter or layer, or a value out of bounds.
    """
    method = verb.method
    own = msgspec.structs.asdict(method)
    tunable = {name for name in own if name != "unit"}
    if unknown := sorted(params.keys() - tunable):
        raise InvalidInput(f"'{unknown[0]}' is no parameter here.", f"There are {', '.join(sorted(tunable))}.")
    fields = own | dict(params)
    if isinstance(method, Dream):
        given = params.get("contributions", {})
        layers = method.contributions
        if not isinstance(given, dict) or given.keys() - layers.keys():
            raise InvalidInput(
                f"contributions must name layers that the model has: {', '.join(layers)}.", 'Like {"mixed3": 2.0}.'
            )
        fields["contributions"] = layers | given
    try:
        return msgspec.structs.replace(verb, method=msgspec.convert(fields, type(method)))
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the parameters are not valid: {error}.") from error


def prepare_pictures(verb: Transform, images: Sequence[bytes | np.ndarray]) -> np.ndarray:
    """Pictures (file bytes, or uint8 pixels) → uint8 [n, height, width, 3], all of the first one's form.

    To dream a higher picture is shrunk to the method's height; to paint the photo is brought to it.

    Raises:
        InvalidInput: none or no picture.
    """
    if not images:
        raise InvalidInput("there is no picture.", "Give the bytes of a PNG or JPEG file.")
    decoded = [image if isinstance(image, np.ndarray) else decode_image(image) for image in images]
    height, width = decoded[0].shape[:2]
    wanted = min(height, verb.method.height) if isinstance(verb.method, Dream) else verb.method.height
    shape = (wanted, max(1, round(width * wanted / height)))
    if shape[1] > _WIDEST:
        raise InvalidInput(f"the picture would be {shape[1]} pixels wide; at most {_WIDEST} are.", "Lower the height.")
    floats = [np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.float32)[None] for pixels in decoded]
    rows: np.ndarray = np.rint(np.concatenate([resize_images(image, shape) for image in floats])).astype(np.uint8)
    return rows


def count_runs(verb: Transform, pictures: np.ndarray) -> int:
    """How often the graph is run for them at most, about."""
    method = verb.method
    if isinstance(method, Dream):
        return len(octave_shapes(pictures.shape[1], pictures.shape[2], method)) * method.iterations
    return method.iterations * method.evaluations


def transform_with_progress(
    verb: Transform, run: Run, pictures: np.ndarray, tell: Callable[[Progress], None]
) -> np.ndarray:
    """Do the whole work, telling of every run of the graph; the last picture, uint8 [height, width, 3].

    What ``tell`` raises ends the work.
    """
    total = count_runs(verb, pictures)
    picture: np.ndarray = pictures[0]
    done, loss = 0, float("nan")

    def counted(graph: str, feeds: Arrays) -> Arrays:
        nonlocal done, loss
        out = run(graph, feeds)
        if graph != verb.graph:
            return out
        done, loss = min(done + 1, total), float(out["loss"][0])
        tell(Progress(done, total, loss))
        return out

    for stage in transform(verb, counted, pictures):
        picture = stage.picture
        tell(Progress(done, total, loss, picture))
    return picture


def transform(verb: Transform, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """Dream of one picture uint8 [1, height, width, 3], or paint the first of two in the style of the second.

    Raises:
        InvalidInput: another number of pictures, or too small ones.
    """
    check_transform(verb, pictures)
    if isinstance(verb.method, Dream):
        yield from _dream(verb, verb.method, run, pictures)
    else:
        yield from _paint(verb, verb.method, run, pictures)


def check_transform(verb: Transform, pictures: np.ndarray) -> None:
    """
    Raises:
        InvalidInput: as for ``transform``.
    """
    wanted = 1 if isinstance(verb.method, Dream) else 2
    if len(pictures) != wanted:
        raise InvalidInput(f"pictures given: {len(pictures)}; expected {wanted}.", "Style needs two.")
    height, width = pictures.shape[1:3]
    if min(height, width) < _LEAST:
        raise InvalidInput(f"the picture has {height} × {width} pixels; expected {_LEAST} or more a side.")


def octave_shapes(height: int, width: int, method: Dream) -> list[tuple[int, int]]:
    """The sizes to dream at, smallest first; none is smaller than a network can see."""
    shapes = [(height, width)]
    for number in range(1, method.octaves + 1):
        shrunk = int(height / method.octave_scale**number), int(width / method.octave_scale**number)
        if min(shrunk) >= _LEAST:
            shapes.append(shrunk)
    return shapes[::-1]


def _dream(verb: Transform, method: Dream, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """Gradient ascent at growing sizes; the detail that shrinking lost is put back after each (figure 8.4)."""
    original = np.asarray(apply_steps(verb.before, pictures), np.float32)
    contributions = np.array([list(method.contributions.values())], np.float32)
    shapes = octave_shapes(pictures.shape[1], pictures.shape[2], method)
    image: np.ndarray = original
    shrunk = resize_images(original, shapes[0])
    for shape in shapes:
        image = resize_images(image, shape)
        losses = []
        for _ in range(method.iterations):
            out = run(verb.graph, {"image": image, "contributions": contributions})
            losses.append(float(out["loss"][0]))
            if losses[-1] > method.max_loss:
                break
            image = image + method.step * method.unit * _normalised(out["gradient"])
        same = resize_images(original, shape)
        image = image + same - resize_images(shrunk, shape)
        shrunk = same
        yield Stage(_pixels(verb, image), losses[0], losses[-1])


def _normalised(gradient: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = gradient / max(float(np.abs(gradient).mean()), 1e-7)
    return scaled


def _paint(verb: Transform, method: Style, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """L-BFGS on the pixels, in rounds: each begins anew where the last one ended, as the book's does.

    What the photo and the painting are seen to be does not change, so they pass the network once.
    """
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        raise Failed("style transfer needs the package 'scipy'.", "Install it: pip install scipy") from error
    content, style = (np.asarray(apply_steps(verb.before, picture[None]), np.float32) for picture in pictures)
    targets = {"content": content, "style": style}
    if verb.features:
        targets = {name: run(verb.features, {"image": picture})[name] for name, picture in targets.items()}
    weights = np.array([[method.content_weight, method.style_weight, method.total_variation_weight]], np.float32)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        image = flat.reshape(content.shape).astype(np.float32)
        out = run(verb.graph, {"image": image, **targets, "weights": weights})
        return float(out["loss"][0]), out["gradient"].astype(np.float64).ravel()

    flat = content.astype(np.float64).ravel()
    before = loss_and_gradient(flat)[0]
    for _ in range(method.iterations):
        found = minimize(loss_and_gradient, flat, jac=True, method="L-BFGS-B", options={"maxfun": method.evaluations})
        flat = found.x
        yield Stage(_pixels(verb, flat.reshape(content.shape)), before, float(found.fun))
        before = float(found.fun)


def resize_images(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values float32 [n, height, width, channels] → the same in another size, bilinear."""
    from PIL import Image

    if images.shape[1:3] == shape:
        return images
    planes = images.transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3])
    size = shape[1], shape[0]
    changed = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(changed).reshape(len(images), -1, *shape).transpose(0, 2, 3, 1)


def _pixels(verb: Transform, image: np.ndarray) -> np.ndarray:
    picture: np.ndarray = np.asarray(apply_steps(verb.after, image))[0]
    return picture

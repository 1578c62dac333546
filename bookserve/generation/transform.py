"""Change pictures along the gradient of a network: DeepDream and style transfer.

The loops take a function that runs the graph. They yield a picture after each stage, because the work can take minutes.
Sources: listings 8.8–8.13 (DeepDream) and 8.14–8.22 (style transfer) of the book; Gatys et al. 2015, arXiv 1508.06576.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bookserve.errors import Failed, InvalidInput, did_you_mean
from bookserve.graph import Arrays
from bookserve.images import decode_image
from bookserve.steps import apply_steps
from bookserve.verb import Dream, Style, Transform

#: Runs a graph, given its name and inputs.
Run = Callable[[str, Arrays], Arrays]

#: Minimum height and width in pixels; the networks shrink a picture several times.
_LEAST = 75
#: Maximum width in pixels; with the maximum height it fits into the memory of an ordinary machine.
_WIDEST = 2048


class Stage(NamedTuple):
    """The result of one stage: picture uint8 [height, width, 3], and the loss before and after."""

    picture: np.ndarray
    before: float
    after: float


class Progress(NamedTuple):
    """Progress after one run of the graph: its number, the maximum number, the loss, and the picture of a stage."""

    step: int
    steps: int
    loss: float
    picture: np.ndarray | None = None


def with_parameters(verb: Transform, params: Mapping[str, Any]) -> Transform:
    """``verb`` with other parameters. ``contributions`` need only name the layers with other weights.

    Raises:
        InvalidInput: a parameter or layer is unknown, or a value is out of range.
    """
    method = verb.method
    own = msgspec.structs.asdict(method)
    tunable = {name for name in own if name != "unit"}
    if unknown := sorted(params.keys() - tunable):
        raise InvalidInput(
            f"'{unknown[0]}' is not a parameter of this model.",
            f"{did_you_mean(unknown[0], tunable)}The parameters are {', '.join(sorted(tunable))}.",
        )
    fields = own | dict(params)
    if isinstance(method, Dream):
        given = params.get("contributions", {})
        layers = method.contributions
        if not isinstance(given, dict) or given.keys() - layers.keys():
            unknown = sorted(given.keys() - layers.keys()) if isinstance(given, dict) else []
            similar = did_you_mean(unknown[0], layers) if unknown else ""
            raise InvalidInput(
                f"contributions must name layers of the model: {', '.join(layers)}.",
                f'{similar}Example: {{"{next(iter(layers))}": 2.0}}.',
            )
        fields["contributions"] = layers | given
    try:
        return msgspec.structs.replace(verb, method=msgspec.convert(fields, type(method)))
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the parameters are not valid: {error}.") from error


def prepare_pictures(verb: Transform, images: Sequence[bytes | np.ndarray]) -> np.ndarray:
    """Pictures (file bytes, or uint8 pixels) → uint8 [n, height, width, 3], all with the first one's proportions.

    For DeepDream, a picture higher than the method's height is shrunk. For style transfer, the photo gets this height.

    Raises:
        InvalidInput: there is no picture, or it cannot be read.
    """
    if not images:
        raise InvalidInput("there is no picture.", "Give the bytes of a PNG or JPEG file.")
    decoded = [image if isinstance(image, np.ndarray) else decode_image(image) for image in images]
    height, width = decoded[0].shape[:2]
    wanted = min(height, verb.method.height) if isinstance(verb.method, Dream) else verb.method.height
    shape = (wanted, max(1, round(width * wanted / height)))
    if shape[1] > _WIDEST:
        raise InvalidInput(
            f"the picture would be {shape[1]} pixels wide; at most {_WIDEST} are allowed.", "Use a smaller height."
        )
    floats = [np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.float32)[None] for pixels in decoded]
    rows: np.ndarray = np.rint(np.concatenate([resize_images(image, shape) for image in floats])).astype(np.uint8)
    return rows


def count_runs(verb: Transform, pictures: np.ndarray) -> int:
    """About the maximum number of runs of the graph for these pictures."""
    method = verb.method
    if isinstance(method, Dream):
        return len(octave_shapes(pictures.shape[1], pictures.shape[2], method)) * method.iterations
    return method.iterations * method.evaluations


def transform_with_progress(
    verb: Transform, run: Run, pictures: np.ndarray, tell: Callable[[Progress], None]
) -> np.ndarray:
    """Run all stages, call ``tell`` after every run of the graph, and return the last picture uint8 [height, width, 3].

    An exception from ``tell`` ends the work.
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
    """Run DeepDream on one picture uint8 [1, height, width, 3], or give the first of two the style of the second.

    Raises:
        InvalidInput: the number of pictures is wrong, or they are too small.
    """
    check_transform(verb, pictures)
    if isinstance(verb.method, Dream):
        yield from _dream(verb, verb.method, run, pictures)
    else:
        yield from _paint(verb, verb.method, run, pictures)


def check_transform(verb: Transform, pictures: np.ndarray) -> None:
    """Check the pictures for ``transform``.

    Raises:
        InvalidInput: the number of pictures is wrong, or they are too small.
    """
    wanted = 1 if isinstance(verb.method, Dream) else 2
    if len(pictures) != wanted:
        raise InvalidInput(
            f"pictures given: {len(pictures)}; expected {wanted}.", "DeepDream takes one, style transfer two."
        )
    height, width = pictures.shape[1:3]
    if min(height, width) < _LEAST:
        raise InvalidInput(f"the picture has {height} × {width} pixels; expected at least {_LEAST} on each side.")


def octave_shapes(height: int, width: int, method: Dream) -> list[tuple[int, int]]:
    """The sizes for DeepDream, smallest first, without those that are too small for the network."""
    shapes = [(height, width)]
    for number in range(1, method.octaves + 1):
        shrunk = int(height / method.octave_scale**number), int(width / method.octave_scale**number)
        if min(shrunk) >= _LEAST:
            shapes.append(shrunk)
    return shapes[::-1]


def _dream(verb: Transform, method: Dream, run: Run, pictures: np.ndarray) -> Iterator[Stage]:
    """Gradient ascent at growing sizes; after each, the detail lost by shrinking is added again (figure 8.4)."""
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
    """L-BFGS on the pixels, in rounds that start from the result of the round before, as in the book.

    The features of the photo and of the style picture are constant, so they are computed once.
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
    """Resize values float32 [n, height, width, channels] with bilinear interpolation."""
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

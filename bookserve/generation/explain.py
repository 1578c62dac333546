"""Explain predictions of convnets: Grad-CAM heat maps, and pictures of the activations of every layer.

A convnet's bundle has two graphs for this: ``activations``, from the picture to the output of every layer, and
``head``, from the feature map of the last convolution to the model's output. Grad-CAM weights a channel by the mean
gradient of the class score over the channel's positions. This mean is how fast the score changes when the whole channel
is raised by the same amount, divided by the number of positions. Two runs of the head per channel measure it, so no
runtime needs a backward pass.

Sources: section 5.4 of the book, listings 5.24–5.31 and 5.42–5.44; Selvaraju et al. 2016, arXiv 1610.02391.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bookserve.bundle import Bundle
from bookserve.errors import InvalidInput, NotFound, did_you_mean
from bookserve.generation.colormap import viridis
from bookserve.graph import Arrays, Graph
from bookserve.images import contact_sheet, decode_image
from bookserve.steps import BinaryLabel, MultiLabel, TopLabels
from bookserve.verb import Predict

#: Names of the two graphs, and of the folder with filter patterns (in a run, and in a bundle's assets).
ACTIVATIONS, HEAD, FILTERS = "activations", "head", "filters"

#: Runs a graph of the model, given its name and inputs.
Run = Callable[[str, Arrays], Arrays]

#: How far channels are raised and lowered, relative to the standard deviation of the feature map.
_NUDGE = 0.02
#: Batch size of the runs of the head.
_TOGETHER = 64
#: Channels in a row of a sheet, and the size in pixels that small channels are enlarged to; both as in the book.
_COLUMNS, _SIZE = 16, 58
#: Small pictures are enlarged to about this size in pixels.
_VISIBLE = 224


class Explanation(NamedTuple):
    """The parts of a picture that count for a class."""

    label: str
    score: float
    #: float32 [height, width] of the last convolution's feature map, 0 to 1; all 0 if no part counts for the class.
    heatmap: np.ndarray
    #: The heat map over the picture, uint8 [height, width, 3].
    overlay: np.ndarray


class Layer(NamedTuple):
    """The output of one layer: its shape without the batch, and its channels as a picture uint8 [height, width, 3]."""

    name: str
    shape: tuple[int, ...]
    picture: np.ndarray


def check_explains(name: str, graphs: Mapping[str, Graph]) -> None:
    """Check that a model can be explained.

    Raises:
        InvalidInput: the model ``name`` does not have the graphs that this needs.
    """
    if ACTIVATIONS not in graphs or HEAD not in graphs:
        raise InvalidInput(
            f"model '{name}' cannot be explained: it has no graphs '{ACTIVATIONS}' and '{HEAD}'.",
            "Convnets of up to 50 million parameters have them; train and export it again.",
        )


def explain(verb: Predict, graphs: Mapping[str, Graph], run: Run, row: Any, wanted: str | None = None) -> Explanation:
    """Grad-CAM of the class ``wanted`` (a label or the index of an output; by default the likeliest class).

    ``row`` is a picture as the model takes it. For a single sigmoid output p, the first label scores 1 − p.

    Raises:
        NotFound: there is no such class.
        InvalidInput: ``row`` is not a picture.
    """
    (layer,) = graphs[HEAD].inputs
    features = run(ACTIVATIONS, _feeds(verb, row))[layer]
    scores = _classes(run(HEAD, {layer: features}))[0]
    labels = _labels(verb, len(scores))
    index = int(scores.argmax()) if wanted is None else _index(labels, wanted)
    channels = features.shape[-1]
    nudge = np.float32(_NUDGE * features.std() or 1)
    slopes = np.empty(channels)
    for start in range(0, channels, _TOGETHER // 2):
        few = np.eye(channels, dtype=np.float32)[start : start + _TOGETHER // 2, None, None, :] * nudge
        out = _classes(run(HEAD, {layer: np.concatenate([features + few, features - few])}))
        raised, lowered = np.split(out.astype(np.float64), 2)
        change = raised - lowered
        # A score close to 1 loses precision; the changes of the other classes keep it.
        rest = -np.delete(change, index, axis=1).sum(axis=1)
        slopes[start : start + len(few)] = rest if scores[index] > 0.5 else change[:, index]
    heat = np.maximum((features[0] * slopes).mean(axis=-1), 0)
    highest = float(heat.max())
    heatmap = (heat / highest if highest > 0 else heat).astype(np.float32)
    return Explanation(labels[index], float(scores[index]), heatmap, overlay_heatmap(heatmap, _photo(row)))


def layer_activations(verb: Predict, run: Run, row: Any, order: Sequence[str]) -> list[Layer]:
    """The outputs of the layers for a picture, in ``order``, without those that are neither feature maps nor vectors.

    Raises:
        InvalidInput: ``row`` is not a picture.
    """
    found = run(ACTIVATIONS, _feeds(verb, row))
    return [
        Layer(name, found[name].shape[1:], activation_sheet(found[name]))
        for name in order
        if found[name].ndim in (2, 4)
    ]


def filter_patterns(bundle: Bundle) -> list[Layer]:
    """The patterns that the filters of each convolution respond to most (figures 5.32–5.35).

    They are drawn during training, since they need gradients through the whole network. The shape of a ``Layer`` is
    here that of the picture.

    Raises:
        NotFound: they were not drawn.
    """
    files = sorted((bundle.path / "assets" / FILTERS).glob("*.png"))
    if not files:
        raise NotFound(
            f"model '{bundle.name}' has no pictures of its filters.",
            "Train it with -p filters=40 and export it again, or draw them from its run: bookserve inside filters",
        )
    found = [(path.stem.partition("_")[2], decode_image(path.read_bytes())) for path in files]
    return [Layer(name, picture.shape, picture) for name, picture in found]


def activation_sheet(activation: np.ndarray) -> np.ndarray:
    """Draw the output of one layer [1, height, width, channels] or [1, n] as a picture uint8 [height, width, 3].

    Each channel is standardised separately. A constant channel, as most are in deep layers, is black. The numbers of a
    vector are standardised together and drawn as a square.
    """
    if activation.ndim == 4:
        channels = np.moveaxis(activation[0].astype(np.float64), -1, 0)
        spread = channels.std(axis=(1, 2), keepdims=True)
        mean = channels.mean(axis=(1, 2), keepdims=True)
        columns = _COLUMNS
    else:
        channels = activation.astype(np.float64).reshape(-1, 1, 1)
        spread, mean = np.full_like(channels, channels.std()), np.full_like(channels, channels.mean())
        columns = max(_COLUMNS, math.isqrt(len(channels)))
    blank = spread <= 1e-6 * np.abs(mean)  # constant, except for rounding
    standard = (channels - mean) / np.where(blank, 1, spread)
    tiles = viridis(0.5 + standard / 4)  # two standard deviations to each side
    tiles[np.broadcast_to(blank, tiles.shape[:3])] = 0
    scale = max(1, (_SIZE if activation.ndim == 4 else 8) // max(tiles.shape[1:3]))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    return contact_sheet(np.pad(tiles, ((0, 0), (1, 1), (1, 1), (0, 0))), columns=columns)


def resize_heatmap(heatmap: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a heat map float32 [height, width] to the size of a photo."""
    from PIL import Image

    picture = Image.fromarray(heatmap.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    clipped: np.ndarray = np.clip(np.asarray(picture), 0, 1)
    return clipped


def overlay_heatmap(heatmap: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Draw a heat map over a photo uint8 [height, width, 1 or 3] of any size; it is more opaque where it is hotter."""
    heat = resize_heatmap(heatmap, *photo.shape[:2])
    opacity = 0.7 * heat[..., None]
    mixed = photo * (1 - opacity) + viridis(heat) * opacity
    return np.rint(mixed).astype(np.uint8)


def enlarge_small(picture: np.ndarray) -> np.ndarray:
    """Enlarge the pixels of a small picture uint8 [height, width, …] for viewing."""
    scale = max(1, _VISIBLE // max(picture.shape[:2]))
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def _feeds(verb: Predict, row: Any) -> Arrays:
    return {name: np.asarray(array) for name, array in verb.encode([row]).items()}


def _photo(row: Any) -> np.ndarray:
    pixels = decode_image(row) if isinstance(row, bytes) else np.atleast_3d(np.asarray(row, np.uint8))
    return enlarge_small(pixels)


def _classes(outputs: Arrays) -> np.ndarray:
    """The head's only output as scores [rows, classes], at least two."""
    (scores,) = outputs.values()
    return np.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 else scores


def _labels(verb: Predict, count: int) -> tuple[str, ...]:
    known = (step.labels for step in next(iter(verb.outputs.values())) if isinstance(step, _LABELLED))
    return next((labels for labels in known if len(labels) == count), tuple(f"class {n}" for n in range(count)))


_LABELLED = TopLabels | BinaryLabel | MultiLabel


def _index(labels: tuple[str, ...], wanted: str) -> int:
    if wanted in labels:
        return labels.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(labels):
        return int(wanted)
    listed = f"There are {', '.join(labels[:20])}{', …' * (len(labels) > 20)}."
    raise NotFound(f"there is no class '{wanted}'.", did_you_mean(wanted, labels) + listed)

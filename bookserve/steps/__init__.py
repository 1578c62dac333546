"""Steps: pure array transforms between what people have (pictures, texts, numbers) and what a graph computes on.

Every Step is a frozen, JSON-able value that maps a batch of rows to a batch of rows. Training, server and client apply
the same Steps, which is why a served model sees exactly what the trained one saw. The tagged union ``Step`` at the
end of this file is the registry: JSON such as ``{"step": "pad", "length": 500}`` decodes to the Step of that tag.
"""

from __future__ import annotations

from collections.abc import Sequence

from bookserve.steps.base import Rows
from bookserve.steps.images import ChannelsFirst, Image, ImageNetMeans, Pixels, WithoutMeans
from bookserve.steps.labels import EachLabel, EitherLabel, Label, Softmax, TopLabels
from bookserve.steps.numbers import Numbers, Reshape, Scale, Standardise
from bookserve.steps.texts import Characters, Hashed, MultiHot, NGrams, Pad, Reverse, Words

__all__ = [
    "ChannelsFirst",
    "Characters",
    "EachLabel",
    "EitherLabel",
    "Hashed",
    "Image",
    "ImageNetMeans",
    "Label",
    "MultiHot",
    "NGrams",
    "Numbers",
    "Pad",
    "Pixels",
    "Reshape",
    "Reverse",
    "Rows",
    "Scale",
    "Softmax",
    "Standardise",
    "Step",
    "TopLabels",
    "WithoutMeans",
    "Words",
    "apply",
]

Step = (
    Numbers
    | Scale
    | Standardise
    | Reshape
    | Image
    | ImageNetMeans
    | ChannelsFirst
    | Pixels
    | WithoutMeans
    | Words
    | Hashed
    | NGrams
    | Characters
    | Reverse
    | Pad
    | MultiHot
    | Softmax
    | TopLabels
    | EitherLabel
    | EachLabel
)


def apply(steps: Sequence[Step], rows: Rows) -> Rows:
    """Pass a batch through ``steps`` in order."""
    for step in steps:
        rows = step(rows)
    return rows

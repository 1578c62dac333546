"""Steps: pure array transforms between what people have (pictures, texts, numbers) and what a graph computes on.

Every Step is a frozen, JSON-able value that maps a batch of rows to a batch of rows. Training, server and client apply
the same Steps, which is why a served model sees exactly what the trained one saw. The tagged union ``Step`` at the
end of this file is the registry: JSON such as ``{"step": "pad", "length": 500}`` decodes to the Step of that tag.
"""

from __future__ import annotations

from collections.abc import Sequence

from bookserve.steps.base import Rows
from bookserve.steps.images import AddImageNetMeans, ChannelsFirst, Image, ImageNetMeans, Pixels
from bookserve.steps.labels import BinaryLabel, Label, MultiLabel, Softmax, TopLabels
from bookserve.steps.numbers import Numbers, Reshape, Scale, Standardise
from bookserve.steps.texts import Characters, Hashed, MultiHot, NGrams, Pad, Reverse, Words

__all__ = [
    "AddImageNetMeans",
    "BinaryLabel",
    "ChannelsFirst",
    "Characters",
    "Hashed",
    "Image",
    "ImageNetMeans",
    "Label",
    "MultiHot",
    "MultiLabel",
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
    "Words",
    "apply_steps",
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
    | AddImageNetMeans
    | Words
    | Hashed
    | NGrams
    | Characters
    | Reverse
    | Pad
    | MultiHot
    | Softmax
    | TopLabels
    | BinaryLabel
    | MultiLabel
)


def apply_steps(steps: Sequence[Step], rows: Rows) -> Rows:
    """Pass a batch through ``steps`` in order."""
    for step in steps:
        rows = step(rows)
    return rows

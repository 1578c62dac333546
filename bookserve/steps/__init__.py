"""Define the Steps: preprocessing and postprocessing that is shipped with a model.

A Step is a frozen value with a JSON form. It maps a batch of rows (pictures, texts, numbers) to a batch of rows. The
trainers, the server and the client apply the same Steps, so a served model gets exactly the input it was trained on.
The tagged union ``Step`` below lists all of them: JSON such as ``{"step": "pad", "length": 500}`` decodes to the Step
with that tag.
"""

from __future__ import annotations

from collections.abc import Sequence

from bookserve.steps.base import Rows
from bookserve.steps.images import (
    AddImageNetMeans,
    ChannelsFirst,
    DigitImage,
    Image,
    ImageNetMeans,
    PictureStep,
    Pixels,
)
from bookserve.steps.labels import BinaryLabel, Label, MultiLabel, Softmax, TopLabels
from bookserve.steps.numbers import Numbers, Reshape, Scale, Shared, Standardise, Unit
from bookserve.steps.texts import Characters, Hashed, MultiHot, NGrams, Pad, Reverse, Words

__all__ = [
    "AddImageNetMeans",
    "BinaryLabel",
    "ChannelsFirst",
    "Characters",
    "DigitImage",
    "Hashed",
    "Image",
    "ImageNetMeans",
    "Label",
    "MultiHot",
    "MultiLabel",
    "NGrams",
    "Numbers",
    "Pad",
    "PictureStep",
    "Pixels",
    "Reshape",
    "Reverse",
    "Rows",
    "Scale",
    "Shared",
    "Softmax",
    "Standardise",
    "Step",
    "TopLabels",
    "Unit",
    "Words",
    "apply_steps",
]

Step = (
    Numbers
    | Shared
    | Scale
    | Standardise
    | Reshape
    | Unit
    | Image
    | DigitImage
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
    """Apply ``steps`` to a batch, one after the other."""
    for step in steps:
        rows = step(rows)
    return rows

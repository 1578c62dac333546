"""Steps: pure array transforms between what people have (pictures, texts, numbers) and what a graph computes on.

Every Step is a frozen, JSON-able value that maps a batch of rows to a batch of rows. Training, server and client apply
the same Steps, which is why a served model sees exactly what the trained one saw. The tagged union ``Step`` at the
end of this file is the registry: JSON such as ``{"step": "pad", "length": 500}`` decodes to the Step of that tag.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from bookserve import pictures
from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype
from bookserve.vocabulary import Vocabulary

#: A batch: an array whose first axis counts rows, or a sequence of rows that are not (yet) of one shape.
Rows = Sequence[Any] | np.ndarray


class _Step(msgspec.Struct, frozen=True, tag_field="step", tag=str.lower):
    """Base of all Steps; calling one with a batch returns the transformed batch."""


class Label(msgspec.Struct, frozen=True):
    """One class name and the model's probability for it."""

    label: str
    score: float


class Numbers(_Step, frozen=True):
    """Rows of numbers or strings, nested as deep as ``shape`` says (-1: any size) → array [rows, *shape]."""

    dtype: str
    shape: tuple[int, ...] = ()

    def __call__(self, rows: Rows) -> np.ndarray:
        expected = f"{self.dtype}{list(self.shape)} in each row"
        if self.dtype == "string":
            array = np.array([[_as_bytes(item) for item in np.ravel(row)] for row in rows], object)
        else:
            try:
                array = np.asarray(rows)
            except ValueError as error:
                raise InvalidInput(f"the rows differ in shape; expected {expected}.") from error
            if array.dtype.kind not in "biuf":
                raise InvalidInput(f"the rows hold {_kind(rows)}; expected {expected}.")
            array = _cast(array, np.dtype(self.dtype))
        wanted = list(self.shape)
        if wanted.count(-1) == 0 and array.size == len(rows) * int(np.prod(wanted)):
            array = array.reshape(len(rows), *wanted)  # a flat row (one line of a CSV file) is as good as a nested one
        if len(array.shape) != len(wanted) + 1 or any(
            w not in (-1, size) for w, size in zip(wanted, array.shape[1:], strict=True)
        ):
            raise InvalidInput(f"each row has shape {list(array.shape[1:])}; expected {expected}.")
        return array.astype(numpy_dtype(self.dtype), copy=False)


class Image(_Step, frozen=True):
    """Pictures → uint8 array [rows, height, width, channels] of values 0–255.

    A row is the bytes of a PNG, JPEG or other file that Pillow reads, or an array of pixel values [height, width],
    [height, width, channels] or flat. Other sizes are resized with Pillow's bilinear filter. With ``background="dark"``
    a picture whose border is bright (ink on paper) is inverted, since the model learned light strokes on black.
    """

    height: int
    width: int
    channels: Literal[1, 3] = 3
    background: Literal["any", "dark"] = "any"

    def __call__(self, rows: Rows) -> np.ndarray:
        size = (self.height, self.width, self.channels)
        if isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows[0].size == np.prod(size):
            batch = rows.reshape(-1, *size)
        else:
            batch = np.stack([pictures.as_pixels(row, *size) for row in rows])
        if self.background == "dark":
            bright = np.median(_border(batch), axis=(1, 2)) > 127
            if bright.any():
                batch = np.where(bright[:, None, None, None], 255 - batch, batch)
        return batch


class Scale(_Step, frozen=True):
    """Array → float32 array times ``factor`` plus ``offset``."""

    factor: float
    offset: float = 0.0

    def __call__(self, rows: Rows) -> np.ndarray:
        scaled = np.asarray(rows, np.float32) * np.float32(self.factor)
        return scaled + np.float32(self.offset)


_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation.replace("'", "") + "\t\n", " "))


class Words(_Step, frozen=True):
    """Texts → lists of word ids, as ``keras.datasets`` numbers them: lower case, punctuation dropped, ``start`` first.

    The vocabulary holds the reserved entries too (padding 0, start 1, unknown 2, one unused), so the word of rank 1 has
    id 4: the shift by three that a model trained on ``keras.datasets.imdb`` expects. Rows that are lists of ids already
    pass, with ids beyond the vocabulary turned into ``unknown``.
    """

    vocabulary: Vocabulary
    start: int = 1
    unknown: int = 2

    def __call__(self, rows: Rows) -> list[np.ndarray]:
        return [self._row(row) for row in rows]

    def _row(self, row: Any) -> np.ndarray:
        if isinstance(row, bytes | str):
            ids = self.vocabulary.ids
            words = _as_text(row).lower().translate(_PUNCTUATION).split()
            return np.array([self.start, *(ids.get(word, self.unknown) for word in words)], np.int32)
        array = np.asarray(row)
        if array.ndim != 1 or array.dtype.kind not in "iuf" or (array < 0).any():
            raise InvalidInput(f"a row is {_kind([row])}; expected a text, or a flat list of word ids.")
        array = _cast(array, np.dtype(np.int32))
        return np.where(array < len(self.vocabulary), array, self.unknown).astype(np.int32)


class Characters(_Step, frozen=True):
    """Texts → lists of character ids (int32), in lower case unless the vocabulary has capitals."""

    vocabulary: Vocabulary

    def __call__(self, rows: Rows) -> list[np.ndarray]:
        return [self._row(_as_text(row)) for row in rows]

    def _row(self, text: str) -> np.ndarray:
        ids = self.vocabulary.ids
        if not any(entry != entry.lower() for entry in ids):
            text = text.lower()
        unknown = sorted({character for character in text if character not in ids})
        if unknown:
            raise InvalidInput(
                f"the text holds characters the model never saw: {' '.join(map(repr, unknown[:10]))}.",
                f"Use only these: {''.join(e for e in self.vocabulary.entries if e.isprintable())}",
            )
        return np.fromiter((ids[character] for character in text), np.int32, len(text))


class Pad(_Step, frozen=True):
    """Lists of ids → int32 array [rows, length]; short rows get ``value`` in front, long ones lose their front."""

    length: int
    value: int = 0

    def __call__(self, rows: Rows) -> np.ndarray:
        padded = np.full((len(rows), self.length), self.value, np.int32)
        for target, row in zip(padded, rows, strict=True):
            kept = row[-self.length :]
            if len(kept):
                target[-len(kept) :] = kept
        return padded


class TopLabels(_Step, frozen=True):
    """Class probabilities [rows, classes] → for each row its ``k`` likeliest labels, likeliest first."""

    labels: tuple[str, ...]
    k: int = 3

    def __call__(self, rows: Rows) -> list[list[Label]]:
        best = np.argsort(-np.asarray(rows), axis=1, kind="stable")[:, : self.k]
        return [
            [Label(self.labels[index], float(row[index])) for index in order]
            for row, order in zip(rows, best, strict=True)
        ]


class EitherLabel(_Step, frozen=True):
    """Probability of the second of two labels [rows, 1] → for each row both labels, likelier first."""

    labels: tuple[str, str]

    def __call__(self, rows: Rows) -> list[list[Label]]:
        positive = np.asarray(rows, np.float64).reshape(-1, 1)
        return TopLabels(self.labels, k=2)(np.concatenate([1 - positive, positive], axis=1))


class Pixels(_Step, frozen=True):
    """Picture values from ``low`` to ``high`` → uint8 pixels 0–255, same shape."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, rows: Rows) -> np.ndarray:
        scaled = (np.asarray(rows, np.float32) - self.low) * (255 / (self.high - self.low))
        pixels: np.ndarray = np.clip(np.rint(scaled), 0, 255)
        return pixels.astype(np.uint8)


Step = Numbers | Image | Scale | Words | Characters | Pad | TopLabels | EitherLabel | Pixels


def apply(steps: Sequence[Step], rows: Rows) -> Rows:
    """Pass a batch through ``steps`` in order."""
    for step in steps:
        rows = step(rows)
    return rows


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``array`` as ``dtype``, refusing what would change a whole number's value."""
    if dtype.kind in "biu":
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if not np.array_equal(cast, array):
            raise InvalidInput(f"some numbers cannot be held as {dtype}.", "Send whole numbers within its range.")
        return cast
    return array.astype(dtype, copy=False)


def _border(batch: np.ndarray) -> np.ndarray:
    """The outermost rows and columns of [rows, height, width, channels], as [rows, pixels, channels]."""
    sides = batch[:, 0], batch[:, -1], batch[:, :, 0], batch[:, :, -1]
    return np.concatenate(sides, axis=1)


def _as_text(row: Any) -> str:
    if isinstance(row, bytes):
        try:
            return row.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("a row is not UTF-8 text.", "Save the file as UTF-8.") from error
    if not isinstance(row, str):
        raise InvalidInput(f"a row is {_kind([row])}; expected a text.")
    return row


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    return _as_text(item).encode()


def _kind(rows: Rows) -> str:
    row = rows[0]
    if isinstance(row, np.ndarray):
        return f"{row.dtype} arrays of shape {list(row.shape)}"
    names = {str: "text", bytes: "file contents", dict: "objects", list: "lists", type(None): "nothing"}
    return names.get(type(row), type(row).__name__)

"""Steps for pictures: from files or pixels to the input of a network, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from bookserve import digits, images
from bookserve.steps.base import Rows, StepBase

#: Blue, green, red.
IMAGENET_MEANS = (103.939, 116.779, 123.68)


class Image(StepBase, frozen=True):
    """Pictures → uint8 array [rows, height, width, channels] of values 0–255.

    A row is the bytes of a PNG, JPEG or other file that Pillow reads, or an array of pixel values [height, width],
    [height, width, channels] or flat. Other sizes are resized with Pillow's bilinear filter. With ``background="dark"``
    a picture with a bright border (ink on paper) is inverted, because the model was trained on light strokes on black.
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
            batch = np.stack([images.as_pixels(row, *size) for row in rows])
        if self.background == "dark":
            bright = np.median(_border(batch), axis=(1, 2)) > 127
            if bright.any():
                batch = np.where(bright[:, None, None, None], 255 - batch, batch)
        return batch


class DigitImage(StepBase, frozen=True):
    """Pictures of one handwritten digit each → uint8 array [rows, 28, 28, 1] in the form of MNIST's pictures.

    A row is the bytes of a picture file, or an array of pixel values [height, width], [height, width, channels] or flat
    (784 numbers): a drawing, a photo or a scan, dark on light or light on dark, of any size. The ink is found, boxed to
    20 pixels, and centred by its mass (``bookserve/digits.py``). MNIST's own pictures keep their pixels.

    Raises:
        InvalidInput: a row is not a picture, or there is no ink in it.
    """

    #: MNIST's pictures as PNG files have 0.3 kB and take 0.1 ms; drawings have 1 kB and more and take 10 ms.
    inline_bytes: ClassVar[int] = 1_000

    @property
    def height(self) -> int:
        """Pixels of a column of the result."""
        return digits.SIDE

    @property
    def width(self) -> int:
        """Pixels of a row of the result."""
        return digits.SIDE

    @property
    def channels(self) -> Literal[1]:
        """Colours of the result: grey."""
        return 1

    def __call__(self, rows: Rows) -> np.ndarray:
        if isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows[0].size == self.height * self.width:
            greys: Sequence[np.ndarray] | np.ndarray = rows.reshape(-1, self.height, self.width)
        else:
            greys = [images.as_grey(row, self.height, digits.SEARCHED) for row in rows]
        return digits.normalise_digits(greys)[..., None]


#: The Steps that read pictures. They say how large the result is: ``height``, ``width`` and ``channels``.
PictureStep = Image | DigitImage


class ChannelsFirst(StepBase, frozen=True):
    """Pictures [rows, height, width, channels] → [rows, channels, height, width], the layout of PyTorch models."""

    def __call__(self, rows: Rows) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(np.asarray(rows), -1, 1))


class Pixels(StepBase, frozen=True):
    """Pixel values from ``low`` to ``high`` → uint8 pixels 0–255, same shape."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, rows: Rows) -> np.ndarray:
        scaled = (np.asarray(rows, np.float32) - self.low) * (255 / (self.high - self.low))
        pixels: np.ndarray = np.clip(np.rint(scaled), 0, 255)
        return pixels.astype(np.uint8)


class ImageNetMeans(StepBase, frozen=True):
    """RGB pixels [rows, height, width, 3] → float32 in the order BGR, each channel minus its mean over ImageNet.

    This is the input of VGG16 and VGG19 (``mode="caffe"`` of ``keras.applications``; section 5.4.3).
    """

    def __call__(self, rows: Rows) -> np.ndarray:
        reversed_channels = np.asarray(rows, np.float32)[..., ::-1]
        return reversed_channels - np.array(IMAGENET_MEANS, np.float32)


class AddImageNetMeans(StepBase, frozen=True, tag="withoutmeans"):
    """The output of ``ImageNetMeans`` [rows, height, width, 3] → RGB pixels uint8, clipped to 0–255 (listing 8.15)."""

    def __call__(self, rows: Rows) -> np.ndarray:
        pixels = (np.asarray(rows, np.float32) + np.array(IMAGENET_MEANS, np.float32))[..., ::-1]
        clipped: np.ndarray = np.clip(np.rint(pixels), 0, 255)
        return clipped.astype(np.uint8)


def _border(batch: np.ndarray) -> np.ndarray:
    """The outermost rows and columns of [rows, height, width, channels], as [rows, pixels, channels]."""
    sides = batch[:, 0], batch[:, -1], batch[:, :, 0], batch[:, :, -1]
    return np.concatenate(sides, axis=1)

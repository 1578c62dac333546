"""Convert between image files and arrays of pixels. Pillow is imported at first use."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from bookserve.errors import InvalidInput

#: Larger pictures are refused before they are decoded, because a small PNG file can expand to gigabytes.
MAX_PIXELS = 50_000_000

#: Modes of Pillow that a PNG file holds.
_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")


def as_pixels(row: Any, height: int, width: int, channels: int) -> np.ndarray:
    """One picture (file bytes, or an array of values 0–255) → uint8 array [height, width, channels].

    Raises:
        InvalidInput: Pillow cannot read the picture, it is too large, or the values are not pixels.
    """
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if isinstance(row, bytes):
        picture = _decode(row)
    else:
        pixels = _pixel_values(row, height, width, channels)
        if pixels.shape == (height, width, channels):
            return pixels
        picture = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    if "A" in picture.getbands() or "transparency" in picture.info:
        paper = Image.new("RGBA", picture.size, "white")  # the background that viewers show
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    picture = picture.convert(mode)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(height, width, channels)


def as_grey(row: Any, side: int, longest: int) -> np.ndarray:
    """A drawn or photographed picture (file bytes, or an array of values 0–255) → uint8 array [height, width].

    Larger pictures are reduced to ``longest`` pixels; flat rows must have ``side`` × ``side`` numbers. Where only the
    strokes of a drawing are opaque, they are dark and the rest is white, whatever their colour.

    Raises:
        InvalidInput: Pillow cannot read the picture, it is too large, or the values are not pixels.
    """
    from PIL import Image

    if isinstance(row, bytes):
        picture = _decode(row, longest)
    else:
        pixels = _pixel_values(row, side, side, 1)
        grey = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        if grey.ndim == 2 and max(grey.shape) <= longest:
            return grey
        picture = Image.fromarray(grey)
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    if transparent:
        picture = picture.convert("RGBA")
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.BOX)
    if transparent:
        picture = _on_paper(picture)
    return np.asarray(picture.convert("L"), np.uint8)


def _on_paper(picture: Any) -> Any:
    """A picture of mode RGBA on white; strokes of one brightness that leave most of it transparent become black."""
    from PIL import Image

    grey, alpha = (np.asarray(band) for band in picture.convert("LA").split())
    drawn = grey[alpha > 127]
    if drawn.size and 2 * drawn.size < alpha.size and np.ptp(drawn) < 64:
        return Image.fromarray(255 - alpha)
    paper = Image.new("RGBA", picture.size, "white")  # the background that viewers show
    return Image.alpha_composite(paper, picture)


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 array [height, width] or [height, width, 1 or 3] → the bytes of a PNG file."""
    from PIL import Image

    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, "PNG")
    return buffer.getvalue()


def encode_lossless(picture: Any) -> bytes:
    """A PIL image as a file that keeps its pixels: PNG, or TIFF for those of 32 bits."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    buffer = io.BytesIO()
    if upright.mode not in _PNG_MODES and upright.mode[0] in "FI":
        upright.save(buffer, "TIFF")
        return buffer.getvalue()
    if upright.mode not in _PNG_MODES:
        upright = upright.convert("RGBA" if "A" in upright.getbands() or "a" in upright.getbands() else "RGB")
    upright.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_animation(frames: Iterable[np.ndarray], kind: Literal["gif", "apng"], seconds: float = 0.1) -> bytes:
    """Pictures uint8 [height, width, 1 or 3], each shown for ``seconds``, as a GIF or APNG that repeats.

    Raises:
        InvalidInput: there is no frame.
    """
    from PIL import Image

    images = [Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame) for frame in frames]
    if not images:
        raise InvalidInput("an animation needs at least one picture.")
    first, *rest = images
    buffer = io.BytesIO()
    shown = {"save_all": True, "append_images": rest, "duration": round(seconds * 1000), "loop": 0}
    first.save(buffer, "GIF" if kind == "gif" else "PNG", **shown)
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """The bytes of an image file (PNG, JPEG or another format of Pillow) → uint8 array [height, width, channels]."""
    picture = _decode(data)
    pixels = np.asarray(picture.convert("L" if len(picture.getbands()) == 1 else "RGB"), np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)


def contact_sheet(images: np.ndarray, columns: int | None = None, scale: int = 1) -> np.ndarray:
    """Pictures uint8 [n, height, width, channels] → one picture with all of them, row by row.

    It is nearly square unless ``columns`` is set. ``scale`` enlarges every pixel to a square of that size.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    picture = sheet.reshape(rows * height, columns * width, channels)
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def _decode(data: bytes, longest: int = 0) -> Any:
    """Open a picture; a JPEG is decoded at a half, quarter or eighth of its size if that is ``longest`` or more."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height > MAX_PIXELS:
            raise InvalidInput(
                f"the picture has {picture.width} × {picture.height} pixels; at most {MAX_PIXELS:,} are accepted.",
                "Make it smaller.",
            )
        if longest:
            picture.draft(None, (longest, longest))
        picture.load()
        return _in_eight_bits(ImageOps.exif_transpose(picture))
    except InvalidInput:
        raise
    except UnidentifiedImageError as error:
        raise InvalidInput(
            f"these {len(data):,} bytes are not a picture in a known format.", "Send a PNG or JPEG file."
        ) from error
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise InvalidInput(
            f"the picture cannot be read ({len(data):,} bytes): {error}.", "Send a complete PNG or JPEG file."
        ) from error


def _in_eight_bits(picture: Any) -> Any:
    """A grey picture of 16 bits with its values divided by 257; Pillow itself would make all above 255 white."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture, np.int64)
    if picture.mode == "I" and values.max() <= 255:
        return picture
    return Image.fromarray(np.clip((values + 128) // 257, 0, 255).astype(np.uint8))


def _pixel_values(row: Any, height: int, width: int, channels: int) -> np.ndarray:
    """Numbers 0–255 in one of the accepted shapes → uint8 array."""
    expected = f"[{height}, {width}, {channels}] or the bytes of a picture file"
    try:
        array = np.asarray(row)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise InvalidInput(f"a row is not a picture; expected pixel values 0–255 of shape {expected}.")
    if array.size == height * width * channels:
        array = array.reshape(height, width, channels)
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise InvalidInput(f"a row has shape {list(array.shape)}; expected {expected}.")
    if array.dtype != np.uint8:
        whole = np.rint(array)
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255 or not np.array_equal(whole, array):
            raise InvalidInput(
                "pixel values must be whole numbers from 0 to 255.",
                "These look scaled already: multiply by 255 and round." if np.all(np.abs(array) <= 1) else "",
            )
        array = whole.astype(np.uint8)
    return array

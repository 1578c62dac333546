"""Show a picture in a terminal: by the protocol that it has for pictures, or else in coloured half-blocks.

| terminal | how |
|---|---|
| kitty, Ghostty, Konsole | kitty's graphics protocol: https://sw.kovidgoyal.net/kitty/graphics-protocol |
| iTerm2, WezTerm | https://iterm2.com/documentation-images.html |
| foot, mlterm, contour, Windows Terminal, and where TERM names sixel | sixel, as DEC's VT340 has it |
| any other | one character for two pixels, in 24 bits of colour (COLORTERM) or 256 colours |

Nothing is shown with NO_COLOR, or where the terminal's encoding has no half-blocks. A terminal is known by its
variables of the environment: to ask it would wait for an answer that many never give.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import numpy as np

from bookserve.images import encode_png

#: Columns of half-blocks at most, and pixels on each side of a picture that a terminal draws itself.
_COLUMNS, _PIXELS = 80, 1024
_SIXEL = ("foot", "mlterm", "contour", "yaft")

show_option = click.option(
    "--show/--no-show", default=None, help="Show the picture in the terminal, too.  [default: in a terminal]"
)


def show_picture(picture: np.ndarray, show: bool | None = None) -> None:
    """Write a picture, uint8 [height, width, 1 or 3], to standard output. None: if that is a terminal that can."""
    environment = os.environ
    if show is False or (show is None and (not sys.stdout.isatty() or "NO_COLOR" in environment)):
        return
    kind = terminal_kind(environment)
    if kind == "blocks":
        try:
            "▀".encode(sys.stdout.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return
    columns, lines = shutil.get_terminal_size()
    for part in encoded(picture, kind, min(columns, _COLUMNS), lines, _is_full_colour(environment)):
        sys.stdout.write(part)
    sys.stdout.flush()


def terminal_kind(environment: Mapping[str, str]) -> str:
    """``kitty``, ``iterm``, ``sixel`` or ``blocks``."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("screen", "tmux")):  # they pass no pictures on
        return "blocks"
    if program == "ghostty" or term == "xterm-kitty" or environment.keys() & {"KITTY_WINDOW_ID", "KONSOLE_VERSION"}:
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    if "sixel" in term or term.startswith(_SIXEL) or "WT_SESSION" in environment:
        return "sixel"
    return "blocks"


def encoded(picture: np.ndarray, kind: str, columns: int, lines: int, full_colour: bool = True) -> Iterator[str]:
    """What draws the picture in a terminal of that kind and size."""
    if kind == "blocks":
        # Two pixels stand above each other in a character; some lines are left for what was printed before.
        yield from _half_blocks(_shrunk(picture, columns, 2 * max(lines - 4, 4)), full_colour)
        return
    small = _shrunk(picture, _PIXELS, _PIXELS)
    if kind == "sixel":
        yield _sixel(small)
    elif kind == "iterm":
        content = encode_png(small)
        yield f"\x1b]1337;File=inline=1;size={len(content)}:{base64.b64encode(content).decode()}\x07"
    else:
        text = base64.b64encode(encode_png(small)).decode()
        chunks = [text[start : start + 4096] for start in range(0, len(text), 4096)]
        for index, chunk in enumerate(chunks):
            control = ("a=T,f=100," if not index else "") + f"m={int(index + 1 < len(chunks))}"
            yield f"\x1b_G{control};{chunk}\x1b\\"
    yield "\n"


def _is_full_colour(environment: Mapping[str, str]) -> bool:
    return environment.get("COLORTERM") in ("truecolor", "24bit")


def _shrunk(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture in three colours, reduced so that it fits."""
    from PIL import Image

    image: Any = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).convert("RGB")
    image.thumbnail((width, height), Image.Resampling.BOX)
    return np.asarray(image, np.uint8)


def _half_blocks(picture: np.ndarray, full_colour: bool) -> Iterator[str]:
    if len(picture) % 2:
        picture = np.concatenate([picture, picture[-1:]])
    for upper, lower in zip(picture[::2], picture[1::2], strict=True):
        before, cells = "", []
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            style = f"\x1b[38;{_colour(above, full_colour)};48;{_colour(below, full_colour)}m"
            cells.append("▀" if style == before else f"{style}▀")
            before = style
        yield f"{''.join(cells)}\x1b[0m\n"


def _colour(pixel: list[int], full_colour: bool) -> str:
    """The pixel, or the nearest of xterm's 216 colours and 24 greys."""
    if full_colour:
        return f"2;{pixel[0]};{pixel[1]};{pixel[2]}"
    if max(pixel) - min(pixel) < 12:
        level = round((sum(pixel) / 3 - 8) / 10)
        return f"5;{16 if level < 0 else 231 if level > 23 else 232 + level}"
    red, green, blue = (0 if value < 48 else min((value - 35) // 40, 5) for value in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def _sixel(picture: np.ndarray) -> str:
    """Six rows of pixels stand in a band; for each colour in it, one character for each column."""
    from PIL import Image

    quantised = Image.fromarray(picture).quantize(256)
    palette = np.array(quantised.getpalette(), np.int32).reshape(-1, 3)
    places = np.asarray(quantised)
    height, width = places.shape
    used = np.unique(places).tolist()
    parts = [f'\x1bPq"1;1;{width};{height}']
    parts += [f"#{place};2;{';'.join(str(round(value / 2.55)) for value in palette[place])}" for place in used]
    for top in range(0, height, 6):
        band = places[top : top + 6]
        weights = (1 << np.arange(len(band)))[:, None]
        rows = []
        for place in np.unique(band).tolist():
            codes = ((band == place) * weights).sum(axis=0) + 63
            rows.append(f"#{place}{_repeated(codes)}")
        parts.append(f"{'$'.join(rows)}-")
    return f"{''.join(parts)}\x1b\\"


def _repeated(codes: np.ndarray) -> str:
    """The characters, with a count in place of repetitions."""
    ends = np.flatnonzero(np.append(codes[1:] != codes[:-1], True))
    counts = np.diff(ends, prepend=-1).tolist()
    return "".join(
        f"!{count}{chr(code)}" if count > 3 else chr(code) * count
        for count, code in zip(counts, codes[ends].tolist(), strict=True)
    )

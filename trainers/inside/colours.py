"""Colours: numbers from 0 to 1 as colours from dark blue to yellow (matplotlib's viridis, as in listing 5.44)."""

from __future__ import annotations

import numpy as np


def colours(values: np.ndarray) -> np.ndarray:
    """Values 0–1 of any shape → uint8 [..., 3]; what lies outside is clipped."""
    from matplotlib import colormaps

    rgba: np.ndarray = colormaps["viridis"](np.clip(values, 0, 1), bytes=True)
    return rgba[..., :3]

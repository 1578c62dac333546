"""Fréchet distance between two sets of pictures, as normal distributions of what is left of them at 8×8 pixels.

Zero where both have the same means and covariances. The usual features are a trained network's; these need none, see
colours, places and large shapes, and no detail. Source: Heusel et al. 2017 for the distance.
"""

from __future__ import annotations

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Of two arrays of pictures [n, height, width, channels], heights and widths multiples of eight."""
    (mean, spread), (other_mean, other_spread) = (
        _mean_and_covariance(_shrink(pictures)) for pictures in (first, second)
    )
    root = _matrix_root(spread)
    # The trace of (A B)^½ is that of (A^½ B A^½)^½, which is symmetric.
    both = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other_spread @ root), 0)).sum()
    return float(((mean - other_mean) ** 2).sum() + np.trace(spread) + np.trace(other_spread) - 2 * both)


def _shrink(pictures: np.ndarray) -> np.ndarray:
    count, height, width, channels = pictures.shape
    tiles = pictures.reshape(count, 8, height // 8, 8, width // 8, channels)
    means: np.ndarray = tiles.mean(axis=(2, 4), dtype=np.float64)
    return means.reshape(count, -1)


def _mean_and_covariance(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def _matrix_root(spread: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(spread)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root

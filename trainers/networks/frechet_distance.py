"""Measure how different two sets of pictures are, by the Fréchet distance of the pictures shrunk to 8×8 pixels.

The distance is that of two normal distributions with the means and covariances of both sets; it is 0 if these are
equal. The usual FID uses features of a trained network. This one needs no network; it sees colours, positions and large
shapes, but no details. Source: Heusel et al. 2017 (the distance).
"""

from __future__ import annotations

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The distance of two arrays of pictures [n, height, width, channels]; heights and widths are multiples of 8."""
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

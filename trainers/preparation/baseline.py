"""Compute baselines: the figures of a model without skill, which a trained model must beat.

Source: sections 3.5, 4.2.2 and 6.3.3.
"""

from __future__ import annotations

import numpy as np


def majority_accuracy(labels: np.ndarray) -> float:
    """The accuracy of always predicting the most frequent of ``labels`` [n]."""
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())


def median_error(train: np.ndarray, test: np.ndarray) -> float:
    """The mean absolute error on ``test`` [n] of always predicting the median of ``train`` [n]."""
    return float(np.abs(np.asarray(test, np.float64) - np.median(train)).mean())


def unigram_entropy(ids: np.ndarray) -> float:
    """The cross-entropy in nats of predicting each id with its frequency in ``ids`` [n], without context."""
    _, counts = np.unique(ids, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def mean_row_loss(train: np.ndarray, test: np.ndarray) -> float:
    """The mean binary cross-entropy in nats of predicting the mean row of ``train`` for every row of ``test``."""
    mean = np.clip(train.mean(axis=0, dtype=np.float64), 1e-7, 1 - 1e-7)
    hits, misses = test.mean(axis=0, dtype=np.float64), 1 - test.mean(axis=0, dtype=np.float64)
    return float(-(hits * np.log(mean) + misses * np.log(1 - mean)).mean())

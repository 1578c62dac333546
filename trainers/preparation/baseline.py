"""Baseline: what a model without skill reaches, which any trained one must beat (sections 3.5, 4.2.2 and 6.3.3)."""

from __future__ import annotations

import numpy as np


def majority_accuracy(labels: np.ndarray) -> float:
    """Accuracy of always naming the commonest of the labels [n]."""
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())


def median_error(train: np.ndarray, test: np.ndarray) -> float:
    """Mean absolute error on ``test`` [n] of always saying the median of ``train`` [n]."""
    return float(np.abs(np.asarray(test, np.float64) - np.median(train)).mean())


def unigram_entropy(ids: np.ndarray) -> float:
    """Cross-entropy in nats of naming each id by its share among ``ids``, whatever came before it."""
    _, counts = np.unique(ids, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def mean_row_loss(train: np.ndarray, test: np.ndarray) -> float:
    """Mean binary cross-entropy in nats of answering every row of ``test`` with the mean row of ``train``."""
    mean = np.clip(train.mean(axis=0, dtype=np.float64), 1e-7, 1 - 1e-7)
    hits, misses = test.mean(axis=0, dtype=np.float64), 1 - test.mean(axis=0, dtype=np.float64)
    return float(-(hits * np.log(mean) + misses * np.log(1 - mean)).mean())

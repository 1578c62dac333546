"""Sampling: the one place where text is drawn from probabilities and points are drawn from a latent space.

The random generator is always made from a seed that the caller passes in, so the same seed gives the same text and the
same pictures in a trainer's callback, in the local client and in the server.
Source: section 8.1.3 of the book (temperature), section 8.4.4 (grid over the latent plane).
``bookserve/generation/text.py`` has the texts that are drawn.
"""

from __future__ import annotations

import numpy as np


def draw_index(probabilities: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """Draw an index from float ``probabilities`` [n], sharpened (temperature < 1) or flattened (> 1).

    Temperature 0 takes the likeliest; it draws nothing from ``rng``.

    An exponential race: with ``e`` drawn from the exponential distribution the least ``e / p ** (1 / temperature)``
    falls on each index as often as it should, and so does the greatest ``p * e ** -temperature``. All that depends on
    the model is then one product and one maximum, which NumPy and a graph compute alike to the last bit.
    """
    if temperature == 0:
        return int(probabilities.argmax())
    noise = noise_weights(rng.standard_exponential(len(probabilities)), temperature)
    return int((probabilities.astype(np.float64) * noise).argmax())


def noise_weights(noise: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Turn exponential ``noise`` float64 into what probabilities are multiplied with, in place; ones stay ones."""
    np.maximum(noise, 1e-300, out=noise)
    np.log(noise, out=noise)
    noise *= -temperature
    np.exp(noise, out=noise)
    return noise


def keep_likeliest(probabilities: np.ndarray, top_k: int | None, top_p: float) -> np.ndarray:
    """``probabilities`` [n] with all but the ``top_k`` greatest set to zero, and of those all but the fewest that sum
    to ``top_p`` of the whole. Of equals the first are taken. (Temperature comes afterwards, as in llama.cpp.)"""
    if top_k is None and top_p == 1:
        return probabilities
    order = np.argsort(-probabilities, kind="stable")
    count = min(top_k or len(order), len(order))
    if top_p < 1:
        count = min(count, 1 + int(probabilities[order].cumsum(dtype=np.float64).searchsorted(top_p)))
    kept = np.zeros_like(probabilities)
    kept[order[:count]] = probabilities[order[:count]]
    return kept

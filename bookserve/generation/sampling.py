"""Draw characters from probabilities: temperature, top-k and top-p sampling.

The caller passes the random generator, so the same seed gives the same text in a trainer's callback, in the local
client and in the server. ``bookserve/generation/text.py`` generates texts with these functions.
Source: section 8.1.3 of the book (temperature).
"""

from __future__ import annotations

import numpy as np


def draw_index(probabilities: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """Draw an index from float ``probabilities`` [n], sharpened (temperature < 1) or flattened (> 1).

    Temperature 0 takes the likeliest index and uses no random number.

    This is an exponential race: with ``e`` from the exponential distribution, the smallest
    ``e / p ** (1 / temperature)`` is at each index with the right probability, and so is the largest
    ``p * e ** -temperature``. So the part that depends on the model is one product and one maximum, which NumPy and an
    ONNX graph compute with equal results.
    """
    if temperature == 0:
        return int(probabilities.argmax())
    noise = noise_weights(rng.standard_exponential(len(probabilities)), temperature)
    return int((probabilities.astype(np.float64) * noise).argmax())


def noise_weights(noise: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Turn exponential ``noise`` float64 into factors for the probabilities, in place; ones stay ones."""
    np.maximum(noise, 1e-300, out=noise)
    np.log(noise, out=noise)
    noise *= -temperature
    np.exp(noise, out=noise)
    return noise


def keep_likeliest(probabilities: np.ndarray, top_k: int | None, top_p: float) -> np.ndarray:
    """Set all ``probabilities`` [n] to zero except the likeliest ones.

    Kept are the ``top_k`` largest, and of these the smallest number whose sum reaches ``top_p``. Of equal ones the
    first are kept. Temperature is applied afterwards, as in llama.cpp.
    """
    if top_k is None and top_p == 1:
        return probabilities
    order = np.argsort(-probabilities, kind="stable")
    count = min(top_k or len(order), len(order))
    if top_p < 1:
        count = min(count, 1 + int(probabilities[order].cumsum(dtype=np.float64).searchsorted(top_p)))
    kept = np.zeros_like(probabilities)
    kept[order[:count]] = probabilities[order[:count]]
    return kept

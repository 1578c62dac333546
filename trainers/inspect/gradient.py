# ruff: noqa: TID253 - imported only inside functions of the command line
"""Compute gradients on TensorFlow and JAX; Keras has no function for it that works on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from bookserve.errors import Failed


def value_and_gradient(score: Callable[[Any], Any], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``score(at)``, of any shape, and the gradient of its sum with respect to ``at``, as arrays.

    Raises:
        Failed: Keras's backend is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    point = keras.ops.convert_to_tensor(at)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(point)
            value = score(point)
        slope = tape.gradient(value, point, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    elif backend == "jax":
        import jax

        value, pull = jax.vjp(score, point)
        (slope,) = pull(keras.ops.ones_like(value))
    else:
        raise Failed(
            f"gradients cannot be computed with Keras's backend '{backend}'.", "Set KERAS_BACKEND to tensorflow or jax."
        )
    return keras.ops.convert_to_numpy(value), keras.ops.convert_to_numpy(slope)

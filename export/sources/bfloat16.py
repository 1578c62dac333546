"""Give numbers that NumPy and the protocols do not have the type of one that they have."""

from __future__ import annotations

from typing import Any


def without_bfloat16(tensor: Any) -> Any:
    """A tensor of TensorFlow; one of bfloat16 becomes float32, which holds each of its numbers."""
    import tensorflow as tf

    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Give optimizers the gradient of an embedding as one array.

On TensorFlow, the gradient of an embedding's table is a list of rows (``tf.IndexedSlices``), one for each id of the
batch. An id that occurs several times has several rows, whose sum is its gradient. Optimizers of Keras 3 that square
the gradient (RMSprop, Adam and others) square each of these rows and then sum, which is not the square of the sum. So
frequent words get wrong updates: ``imdb_lstm`` learned more slowly on TensorFlow than on JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def sum_repeated_rows(optimizer: keras.Optimizer) -> None:
    """Make ``optimizer`` sum the rows of repeated ids before it does anything else with a gradient.

    The gradient is then an array of the shape of the table, as on other backends, where this changes nothing.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    apply = optimizer.apply

    def apply_to_arrays(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        # convert_to_tensor sums the rows of a tf.IndexedSlices
        return apply([None if grad is None else tf.convert_to_tensor(grad) for grad in grads], trainable_variables)

    optimizer.apply = apply_to_arrays

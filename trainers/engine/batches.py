# ruff: noqa: TID253 - imported only inside functions of the command line
"""Feed training arrays to Keras in batches. Their order depends only on the seed and the number of the epoch."""

from __future__ import annotations

import keras
import numpy as np

from trainers.datasets.arrays import Batch, TrainingArrays


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Training batches, shuffled again in each epoch and augmented by a random generator for each batch.

    An epoch has ``steps`` batches, or with 0 as many as one pass over the rows needs. If that takes more rows than
    there are, another permutation of the rows follows.
    """

    def __init__(self, arrays: TrainingArrays, batch_size: int, seed: int, epoch: int = 0, steps: int = 0) -> None:
        super().__init__()
        self._arrays = arrays
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._size = steps * batch_size or len(arrays)
        self._order = np.arange(min(self._size, len(arrays)))  # Keras reads one batch before the first epoch begins

    def __len__(self) -> int:
        return -(-self._size // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Batch, Batch]:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._arrays.batch(rows, np.random.default_rng([self._seed, self._epoch, index]))

    def on_epoch_begin(self) -> None:
        rng = np.random.default_rng([self._seed, self._epoch])
        orders = [rng.permutation(len(self._arrays)) for _ in range(-(-self._size // len(self._arrays)))]
        self._order = np.concatenate(orders)[: self._size]
        self._epoch += 1


class EvaluationBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches to evaluate a model on: every row once, in order, without augmentation."""

    def __init__(self, arrays: TrainingArrays, batch_size: int) -> None:
        super().__init__()
        self._arrays = arrays
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._arrays) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Batch, Batch]:
        start = index * self._batch_size
        return self._arrays.batch(np.arange(start, min(start + self._batch_size, len(self._arrays))))


def evaluate(model: keras.Model, arrays: TrainingArrays, batch_size: int) -> dict[str, float]:
    """The model's loss and metrics on ``arrays``, by name."""
    measured = model.evaluate(EvaluationBatches(arrays, batch_size), verbose=0, return_dict=True)
    return {name: float(value) for name, value in measured.items()}

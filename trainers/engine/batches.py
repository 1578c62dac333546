# ruff: noqa: TID253 - imported only inside functions of the command line
"""Batches: pairs as Keras reads them, in an order that only the seed and the number of the epoch decide."""

from __future__ import annotations

import keras
import numpy as np

from trainers.arrays import Batch, TrainingArrays


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Training batches: ``steps`` of them (0: as many as the rows make), shuffled anew in each epoch.

    Where more rows are asked for than there are, a new order begins. Rows are augmented, by a generator of their own
    for each batch.
    """

    def __init__(self, pairs: TrainingArrays, batch_size: int, seed: int, epoch: int = 0, steps: int = 0) -> None:
        super().__init__()
        self._pairs = pairs
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._size = steps * batch_size or len(pairs)
        self._order = np.arange(min(self._size, len(pairs)))  # Keras looks at a batch before it begins

    def __len__(self) -> int:
        return -(-self._size // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Batch, Batch]:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._pairs.batch(rows, np.random.default_rng([self._seed, self._epoch, index]))

    def on_epoch_begin(self) -> None:
        rng = np.random.default_rng([self._seed, self._epoch])
        orders = [rng.permutation(len(self._pairs)) for _ in range(-(-self._size // len(self._pairs)))]
        self._order = np.concatenate(orders)[: self._size]
        self._epoch += 1


class EvaluationBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Every row once, in order and as it is: what a model is measured on."""

    def __init__(self, pairs: TrainingArrays, batch_size: int) -> None:
        super().__init__()
        self._pairs = pairs
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._pairs) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Batch, Batch]:
        start = index * self._batch_size
        return self._pairs.batch(np.arange(start, min(start + self._batch_size, len(self._pairs))))


def evaluate(model: keras.Model, pairs: TrainingArrays, batch_size: int) -> dict[str, float]:
    """The model's loss and metrics on ``pairs``, by name."""
    measured = model.evaluate(EvaluationBatches(pairs, batch_size), verbose=0, return_dict=True)
    return {name: float(value) for name, value in measured.items()}

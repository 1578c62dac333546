# ruff: noqa: TID253 - imported only inside functions of the command line
"""Feed training arrays to Keras in batches. Their order depends only on the seed and the number of the epoch.

Batches that must be encoded or augmented are computed in threads, some ahead of the one that the network trains on, so
that a GPU does not wait for them. Keras's own ``workers`` would begin before an epoch has its order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np

from trainers.datasets.arrays import Batch, TrainingArrays

#: One thread for each processor; Pillow and NumPy let several run at once.
_THREADS = min(os.cpu_count() or 1, 16)
_Pair = tuple[Batch, Batch]


class _Ahead:
    """Computes the ``count`` batches of one epoch in threads, in order, a few more than the threads ahead."""

    def __init__(self, compute: Callable[[int], _Pair], count: int) -> None:
        self._compute = compute
        self._count = count
        self._pending: dict[int, Future[_Pair]] = {}
        self._threads = ThreadPoolExecutor(_THREADS)

    def __call__(self, index: int) -> _Pair:
        """The batch at ``index``; those after it are begun."""
        for later in range(index, min(index + _THREADS + 2, self._count)):
            if later not in self._pending:
                self._pending[later] = self._threads.submit(self._compute, later)
        return self._pending.pop(index).result()

    def close(self) -> None:
        """End the threads, and forget the batches that nobody took."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of ``arrays``, computed ahead during an epoch if they are encoded batch by batch."""

    def __init__(self, arrays: TrainingArrays, batch_size: int) -> None:
        super().__init__()
        self._arrays = arrays
        self._batch_size = batch_size
        self._ahead: _Ahead | None = None

    def __getitem__(self, index: int) -> _Pair:
        return self._ahead(index) if self._ahead else self._compute(index)

    def _compute(self, index: int) -> _Pair:
        raise NotImplementedError

    def on_epoch_begin(self) -> None:
        if self._arrays.lazy:
            self._ahead = _Ahead(self._compute, len(self))

    def on_epoch_end(self) -> None:
        if self._ahead:
            self._ahead.close()
        self._ahead = None


class TrainingBatches(_Batches):
    """Training batches, shuffled again in each epoch and augmented by a random generator for each batch.

    An epoch has ``steps`` batches, or with 0 as many as one pass over the rows needs. If that takes more rows than
    there are, another permutation of the rows follows.
    """

    def __init__(self, arrays: TrainingArrays, batch_size: int, seed: int, epoch: int = 0, steps: int = 0) -> None:
        super().__init__(arrays, batch_size)
        self._seed = seed
        self._epoch = epoch
        self._size = steps * batch_size or len(arrays)
        self._order = np.arange(min(self._size, len(arrays)))  # Keras reads one batch before the first epoch begins

    def __len__(self) -> int:
        return -(-self._size // self._batch_size)

    def _compute(self, index: int) -> _Pair:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._arrays.batch(rows, np.random.default_rng([self._seed, self._epoch, index]))

    def on_epoch_begin(self) -> None:
        rng = np.random.default_rng([self._seed, self._epoch])
        orders = [rng.permutation(len(self._arrays)) for _ in range(-(-self._size // len(self._arrays)))]
        self._order = np.concatenate(orders)[: self._size]
        self._epoch += 1
        super().on_epoch_begin()


class EvaluationBatches(_Batches):
    """Batches to evaluate a model on: every row once, in order, without augmentation."""

    def __len__(self) -> int:
        return -(-len(self._arrays) // self._batch_size)

    def _compute(self, index: int) -> _Pair:
        start = index * self._batch_size
        return self._arrays.batch(np.arange(start, min(start + self._batch_size, len(self._arrays))))


def evaluate(model: keras.Model, arrays: TrainingArrays, batch_size: int) -> dict[str, float]:
    """The model's loss and metrics on ``arrays``, by name."""
    measured = model.evaluate(EvaluationBatches(arrays, batch_size), verbose=0, return_dict=True)
    return {name: float(value) for name, value in measured.items()}

# ruff: noqa: TID253 - imported only inside functions of the command line
"""The one training loop: seeded batches, a checkpoint after each epoch, a line or a progress bar on the way."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np

from bookserve.run import Run
from trainers import checkpoint
from trainers.checkpoint import Progress
from trainers.task import Data, Pairs, Params

#: Takes a line for the user.
Say = Callable[[str], None]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of a task's training pairs, in an order that only the seed and the number of the epoch decide."""

    def __init__(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> None:
        super().__init__()
        self._pairs = pairs
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._order = np.arange(len(pairs.y))

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._pairs.x[rows], self._pairs.y[rows]

    def on_epoch_begin(self) -> None:
        self._order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._order))
        self._epoch += 1


def fit(
    model: keras.Model,
    data: Data,
    params: Params,
    *,
    run: Run,
    seed: int,
    say: Say,
    bar: bool = False,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> Progress:
    """Train ``model`` for ``params["epochs"]`` epochs in all, from the run's checkpoint on where it has one.

    ``bar`` shows Keras's progress bar instead of one line an epoch through ``say``. ``after_epoch`` is called with the
    number of epochs done. A KeyboardInterrupt loses no more than the epoch it falls in.
    """
    progress = checkpoint.load(run, model)
    if progress.epochs >= params["epochs"]:
        return progress
    model.fit(
        Batches(data.train, params["batch_size"], seed, progress.epochs),
        epochs=params["epochs"],
        initial_epoch=progress.epochs,
        shuffle=False,  # Keras would shuffle the batches once more, by a global generator that no checkpoint holds
        validation_data=data.validation and tuple(data.validation),
        validation_batch_size=params["batch_size"],
        callbacks=[
            _EndOfEpoch(run, progress, params["epochs"], None if bar else say, after_epoch),
            keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False),
        ],
        verbose=1 if bar else 0,
    )
    return progress


class _EndOfEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes the figures, writes the checkpoint and reports."""

    def __init__(
        self, run: Run, progress: Progress, epochs: int, say: Say | None, after_epoch: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._run = run
        self._progress = progress
        self._epochs = epochs
        self._say = say
        self._after_epoch = after_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self._start
        for name, value in figures.items():
            self._progress.history.setdefault(name, []).append(value)
        self._progress.epochs = epoch + 1
        self._progress.seconds += seconds
        checkpoint.save(self._run, self.model, self._progress)
        if self._say:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            self._say(f"epoch {epoch + 1}/{self._epochs}  {shown}  ({seconds:.1f} s)")
        self._after_epoch(epoch + 1)

# ruff: noqa: T201, TID253 - a measurement that prints
"""Measure how fast the batches of a task can be read, beside how fast the network trains on them.

python bench/pipelines.py [--data real]

If reading one batch takes less than a step of the network, the device does not wait: batches that are encoded or
augmented are computed in threads ahead of the network, the others are a selection of rows.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable

import keras

from trainers.catalogue import find_task
from trainers.engine.batches import TrainingBatches

TASKS = ("mnist_convnet", "mnist_vae", "cifar10_gan")
#: Batches of which an epoch is made here, and steps of the network after the first ones, which compile.
READ, WARM, STEPS = 300, 3, 12


def milliseconds(count: int, one: Callable[[int], object]) -> float:
    """Milliseconds of one of ``count`` calls."""
    start = time.perf_counter()
    for index in range(count):
        one(index)
    return (time.perf_counter() - start) / count * 1e3


def main() -> None:
    """Print one row for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["real", "sample"], default="sample")
    data_kind = parser.parse_args().data
    print("| task | rows a batch | read, ms a batch | encoded while it is read, ms | train, ms a step |")
    print("|---|---|---|---|---|")
    for name in TASKS:
        task = find_task(name)
        params = {**task.defaults(data_kind), "seed": 1, "data": data_kind}
        arrays = task.data(data_kind, params).train
        size = params["batch_size"]
        read = {}
        for ahead in (True, False):
            batches = TrainingBatches(arrays, size, seed=1, steps=READ)
            batches.on_epoch_begin()
            if not ahead:
                batches.on_epoch_end()  # without threads
            read[ahead] = milliseconds(READ, batches.__getitem__)
            batches.on_epoch_end()
        keras.utils.set_random_seed(1)
        model = task.build(task.data(data_kind, params), params)
        model.jit_compile = False
        batches = TrainingBatches(arrays, size, seed=1, steps=STEPS + WARM)
        batches.on_epoch_begin()
        pairs = [batches[index] for index in range(STEPS + WARM)]
        batches.on_epoch_end()
        for pair in itertools.islice(pairs, WARM):
            model.train_on_batch(*pair)
        step = milliseconds(STEPS, lambda index, pairs=pairs, model=model: model.train_on_batch(*pairs[WARM + index]))
        print(f"| `{name}` | {size} | {read[True]:.3f} | {read[False]:.3f} | {step:.1f} |", flush=True)


if __name__ == "__main__":
    main()

# ruff: noqa: TID253 - imported only inside functions of the command line
"""Replicas: one model on several devices, each of which takes its share of the rows of every batch.

The shares are those of the batches that one device would see, and gradients and figures are those of the whole batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from bookserve.errors import InvalidInput
from trainers.task import Data, Params


def distribute_batches(strategy: Any, batches: keras.utils.PyDataset) -> tuple[Any, int]:
    """What ``fit`` reads the replicas' shares of ``batches`` from, without end, and how many batches make an epoch."""
    import tensorflow as tf

    count = strategy.num_replicas_in_sync
    x, y = keras.tree.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), _as_float32(array).dtype), batches[0]
    )
    specs = x, y, tf.TensorSpec((), tf.float32)

    def dataset(context: Any) -> Any:
        local = count // context.num_input_pipelines
        mine = range(context.input_pipeline_id * local, (context.input_pipeline_id + 1) * local)
        shares = tf.data.Dataset.from_generator(
            lambda: _replica_shares(copy.copy(batches), mine, count), output_signature=specs
        )
        return shares.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    return strategy.distribute_datasets_from_function(dataset), len(batches)


def install_strategy(strategy: Any, model: keras.Model, data: Data, params: Params) -> None:
    """Teach ``fit`` the strategy: Keras 3.15's own way fails before the first step of several workers.

    It reduces a batch of several arrays as though it were one, and figures as though they had rows.
    """
    last = (params["steps_per_epoch"] * params["batch_size"] or len(data.train)) % params["batch_size"]
    smallest, replicas = last or params["batch_size"], strategy.num_replicas_in_sync
    if smallest < replicas:
        raise InvalidInput(
            f"a batch of {smallest} rows cannot be divided among {replicas} replicas.", "Give another batch_size."
        )
    if params["samples_every"]:
        raise InvalidInput("samples_every shows samples on one device.", "Leave it or --distribute out.")
    one = data.train.batch(np.arange(1))
    with strategy.scope():
        model._symbolic_build(data_batch=keras.tree.map_structure(_as_float32, one))
    model._distribute_strategy = None
    model.train_function = _replicated_step(strategy, model.train_step, model.optimizer)
    model.test_function = _replicated_step(strategy, model.test_step, model.optimizer)


def _replicated_step(strategy: Any, step: Callable[[Any], dict[str, Any]], optimizer: keras.Optimizer) -> Any:
    """``step`` on every replica; the figures are the first one's until the epoch's end, which asks for all."""
    import tensorflow as tf

    scaled = optimizer.scale_loss

    def replica(x: Any, y: Any, weight: Any) -> dict[str, Any]:
        # Keras takes the mean over replicas: one with fewer rows has to count for less.
        optimizer.scale_loss = lambda loss: scaled(loss * weight)
        return step((x, y))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def function(iterator: Any) -> dict[str, Any]:
        figures = strategy.run(replica, args=iterator.get_next())
        return {name: strategy.experimental_local_results(value)[0] for name, value in figures.items()}

    return function


def _as_float32(array: np.ndarray) -> np.ndarray:
    """Doubles as the floats that Keras makes of them."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _replica_shares(
    batches: keras.utils.PyDataset, replicas: Sequence[int], count: int
) -> Iterator[tuple[Any, Any, Any]]:
    """Epoch after epoch, of each batch the rows of each of ``replicas`` among ``count``, and what they weigh."""
    while True:
        batches.on_epoch_begin()
        for index in range(len(batches)):
            x, y = batches[index]
            rows = len(keras.tree.flatten(x)[0])
            for replica in replicas:
                part = slice(rows * replica // count, rows * (replica + 1) // count)
                weight = np.float32((part.stop - part.start) * count / rows)
                share = keras.tree.map_structure(lambda array, part=part: _as_float32(array)[part], (x, y))
                yield *share, weight

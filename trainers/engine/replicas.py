# ruff: noqa: TID253 - imported only inside functions of the command line
"""Train one model on several devices with ``tf.distribute``: each replica takes a share of the rows of every batch.

The batches are the same as on one device, and gradients and figures are those of whole batches.
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
    """An endless distributed data set of the replicas' shares of ``batches``, and the number of batches per epoch."""
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
    """Make ``model.fit`` and ``evaluate`` use ``strategy``, by setting the model's train and test functions.

    Keras 3.15's own functions fail before the first step with several workers: they reduce a batch of several arrays
    as if it were one array, and figures as if they had rows.

    Raises:
        InvalidInput: a batch has fewer rows than there are replicas, or ``samples_every`` is set.
    """
    last = (params["steps_per_epoch"] * params["batch_size"] or len(data.train)) % params["batch_size"]
    smallest, replicas = last or params["batch_size"], strategy.num_replicas_in_sync
    if smallest < replicas:
        raise InvalidInput(
            f"a batch of {smallest} rows cannot be split among {replicas} replicas.", "Give another batch_size."
        )
    if params["samples_every"]:
        raise InvalidInput("samples_every works only on one device.", "Leave it or --distribute out.")
    one = data.train.batch(np.arange(1))
    with strategy.scope():
        model._symbolic_build(data_batch=keras.tree.map_structure(_as_float32, one))
    model._distribute_strategy = None
    model.train_function = _replicated_step(strategy, model.train_step, model.optimizer)
    model.test_function = _replicated_step(strategy, model.test_step, model.optimizer)


def _replicated_step(strategy: Any, step: Callable[[Any], dict[str, Any]], optimizer: keras.Optimizer) -> Any:
    """A function that runs ``step`` on every replica and returns the first one's figures.

    At the end of the epoch, Keras combines the metrics of all replicas.
    """
    import tensorflow as tf

    scaled = optimizer.scale_loss

    def step_on_replica(x: Any, y: Any, weight: Any) -> dict[str, Any]:
        # Keras averages gradients over the replicas, so a replica with fewer rows must get less weight.
        optimizer.scale_loss = lambda loss: scaled(loss * weight)
        return step((x, y))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def replicated_step(iterator: Any) -> dict[str, Any]:
        figures = strategy.run(step_on_replica, args=iterator.get_next())
        return {name: strategy.experimental_local_results(value)[0] for name, value in figures.items()}

    return replicated_step


def _as_float32(array: np.ndarray) -> np.ndarray:
    """``array`` as float32 if it is float64, as Keras would convert it."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _replica_shares(
    batches: keras.utils.PyDataset, replicas: Sequence[int], count: int
) -> Iterator[tuple[Any, Any, Any]]:
    """Without end, the inputs, targets and weight of each of ``replicas`` (of ``count``) for every batch."""
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

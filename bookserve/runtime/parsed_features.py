"""Find the features that a graph parses from ``tf.Example`` messages, and make such messages up.

Source: the operators ParseExample, ParseExampleV2 and ParseSingleExample of TensorFlow 2.21 (core/ops/parsing_ops.cc).
TensorFlow is imported when a graph is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

_SEED = 20_180_101
_ROWS = 3
#: The number of values of a feature that may have any number.
_FREE_LENGTH = 2
_MAX_ID = 2


class ParsedFeature(NamedTuple):
    """One feature: its dtype (``float32``, ``int64`` or ``string``) and how many values it has in each message."""

    name: str
    dtype: str
    size: int


def parsed_features(node: Any, beside: Mapping[str, Any]) -> Iterator[ParsedFeature]:
    """Yield the features that one node parses; none if it is no parser. ``beside`` are the nodes of its graph."""
    import tensorflow as tf

    shapes = [[dim.size for dim in shape.dim] for shape in node.attr["dense_shapes"].list.shape]
    dense, sparse = node.attr["Tdense"].list.type, node.attr["sparse_types"].list.type
    if node.op == "ParseSingleExample":
        dense_keys, sparse_keys = node.attr["dense_keys"].list.s, node.attr["sparse_keys"].list.s
    elif node.op == "ParseExample":  # after the messages and their names
        keys = [key for name in node.input[2 : 2 + len(sparse) + len(dense)] for key in _constant(name, beside)]
        sparse_keys, dense_keys = keys[: len(sparse)], keys[len(sparse) :]
    elif node.op == "ParseExampleV2":
        sparse_keys, dense_keys, ragged_keys = (_constant(name, beside) for name in node.input[2:5])
        sparse_keys = [*sparse_keys, *ragged_keys]
        sparse = [*sparse, *node.attr["ragged_value_types"].list.type]
    else:
        return
    for key, kind, shape in zip(dense_keys, dense, shapes, strict=False):
        size = int(np.prod([_FREE_LENGTH if axis < 0 else axis for axis in shape]))
        yield ParsedFeature(key.decode(), tf.as_dtype(kind).name, size)
    for key, kind in zip(sparse_keys, sparse, strict=False):
        yield ParsedFeature(key.decode(), tf.as_dtype(kind).name, _FREE_LENGTH)


def made_up_examples(features: Sequence[ParsedFeature]) -> list[bytes]:
    """Some serialized messages with random values for these features; none if there are no features."""
    rng = np.random.default_rng(_SEED)
    return [_message(rng, features) for _ in range(_ROWS)] if features else []


def _message(rng: np.random.Generator, features: Sequence[ParsedFeature]) -> bytes:
    import tensorflow as tf

    message = tf.train.Example()
    for feature in features:
        values = message.features.feature[feature.name]
        if feature.dtype == "string":
            values.bytes_list.value.extend(rng.choice([b"one", b"two"], feature.size).tolist())
        elif feature.dtype == "int64":
            values.int64_list.value.extend(rng.integers(0, _MAX_ID, feature.size).tolist())
        else:
            values.float_list.value.extend(rng.random(feature.size).tolist())
    return bytes(message.SerializeToString(deterministic=True))


def _constant(tensor: str, beside: Mapping[str, Any]) -> list[bytes]:
    """The strings of a constant; none if it is computed."""
    import tensorflow as tf

    node = beside.get(tensor.partition(":")[0])
    if node is None or node.op != "Const":
        return []
    return list(tf.make_ndarray(node.attr["value"].tensor).ravel().tolist())

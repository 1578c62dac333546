"""Converts tf.Example records, from JSON or from a message, to the inputs of a graph.

A graph that parses records itself gets them serialized, as TensorFlow Serving feeds all its graphs. Any other graph
works, too: there a feature has the name of an input and holds one row of it, flattened. Integers are accepted where a
model takes floats, since JSON writers may write ``1`` for ``1.0``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec, numpy_dtype
from serve.codecs.json_arrays import decode_b64, is_b64, kind_of, shorten

_KIND_NAMES = {"bytes_list": "string", "float_list": "float", "int64_list": "int64"}
_ACCEPTED_KINDS = {"f": ("float_list", "int64_list"), "i": ("int64_list",), "u": ("int64_list",), "b": ("int64_list",)}


def examples_from_json(document: Mapping[str, Any]) -> pb.Input:
    """The records in ``examples``, and the features in ``context`` that apply to all of them.

    Raises:
        InvalidInput: there are no records, or a feature is not a list of values of one kind.
    """
    context = _example(document["context"]) if "context" in document else None
    where = f"JSON Value: {shorten(document)}"
    if "examples" not in document:  # TensorFlow Serving says classify when it is asked to regress, too
        raise InvalidInput(f"{where} When method is classify, key 'examples' is expected and was not found")
    records = document["examples"]
    if type(records) is not list:
        raise InvalidInput(f"{where} Expecting 'examples' value to be an list/array")
    if not records:
        raise InvalidInput(f"{where} 'examples' value is an empty array")
    examples = [_example(record) for record in records]
    if context is None:
        return pb.Input(example_list=pb.ExampleList(examples=examples))
    return pb.Input(example_list_with_context=pb.ExampleListWithContext(examples=examples, context=context))


def example_inputs(message: pb.Input, graph: Graph) -> Arrays:
    """The inputs of ``graph``, one row for each record.

    Raises:
        InvalidInput: there are no records, the graph takes no batches, or a feature is missing or does not fit.
    """
    if not graph.batched:
        raise InvalidInput("this graph does not take a batch of rows.", "Use predict.")
    examples, context = _examples(message)
    shared = context.features.feature
    records = [example.features.feature for example in examples]
    return {name: _column(name, spec, records, shared) for name, spec in graph.inputs.items()}


def count_examples(message: pb.Input) -> int:
    """The number of records.

    Raises:
        InvalidInput: there are none.
    """
    return len(_examples(message)[0])


def record_feeds(message: pb.Input, graph: Graph) -> Arrays:
    """The serialized records as the only input of ``graph``: an object array of bytes [examples].

    Each begins with the features of the context. A parser takes the last value of a feature that occurs twice, so an
    example overrides the context.

    Raises:
        InvalidInput: there are no records.
    """
    examples, context = _examples(message)
    shared = context.SerializeToString()
    records = np.empty(len(examples), object)
    records[:] = [shared + example.SerializeToString() for example in examples]
    return dict.fromkeys(graph.inputs, records)


def _examples(message: pb.Input) -> tuple[Sequence[pb.Example], pb.Example]:
    """The examples of a request, and its context, which is empty if there is none."""
    examples = getattr(message, message.WhichOneof("kind") or "example_list")
    if not examples.examples:
        raise InvalidInput("Input is empty.")
    return examples.examples, examples.context if isinstance(examples, pb.ExampleListWithContext) else pb.Example()


def _column(
    name: str,
    spec: TensorSpec,
    records: Sequence[Mapping[str, pb.Feature]],
    shared: Mapping[str, pb.Feature],
) -> np.ndarray:
    shape = spec.sizes()[1:]
    if shape.count(-1) > 1:
        raise InvalidInput(
            f"input '{name}' has several open axes; a flat feature does not give their sizes.", "Use predict."
        )
    rows = []
    for index, record in enumerate(records):
        feature = record[name] if name in record else shared.get(name)
        rows.append(_row(f"Name: example {index}, Feature: {name}", feature, spec, shape))
    if len({row.shape for row in rows}) > 1:
        raise InvalidInput(
            f"Feature: {name} differs in length from example to example.",
            "Send examples of different lengths in separate requests.",
        )
    return np.stack(rows)


def _row(where: str, feature: pb.Feature | None, spec: TensorSpec, shape: list[int]) -> np.ndarray:
    kind = feature.WhichOneof("kind") if feature is not None else None
    if feature is None or kind is None:
        raise InvalidInput(f"{where} (data type: {spec.dtype}) is required but could not be found.")
    dtype = numpy_dtype(spec.dtype)
    if kind not in _ACCEPTED_KINDS.get(dtype.kind, ("bytes_list",)):
        raise InvalidInput(
            f"{where}. Data types don't match. Data type: {_KIND_NAMES[kind]} but expected: {spec.dtype}."
        )
    values = list(getattr(feature, kind).value)
    size = abs(math.prod(shape))
    if len(values) % size if -1 in shape and size else len(values) != size:
        raise InvalidInput(f"{where}. Number of values != expected. Values size: {len(values)} but expected {spec}.")
    flat = np.empty(len(values), object)
    flat[:] = values
    if dtype.kind == "O":
        return flat.reshape(shape)
    if dtype.kind in "iub":
        lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not all(lowest <= value <= highest for value in values):
            raise InvalidInput(f"{where} has values out of the range of {spec.dtype}.")
    with np.errstate(over="ignore"):  # a number too large for a half is infinite
        return flat.astype(dtype).reshape(shape)


def _example(record: Any) -> pb.Example:
    if type(record) is not dict:
        raise InvalidInput(f"Example must be JSON object but got JSON {kind_of(record)}")
    return pb.Example(features=pb.Features(feature={name: _feature(name, value) for name, value in record.items()}))


def _feature(name: str, value: Any) -> pb.Feature:
    values = value if type(value) is list else [value]
    kinds = {_kind_of(name, item) for item in values}
    if len(kinds) > 1:
        expected = _KIND_NAMES[_kind_of(name, values[0])].replace("string", "bytes")
        raise InvalidInput(f"Unexpected element type in feature: {name} expecting type: {expected}")
    kind = kinds.pop() if kinds else ""
    if kind == "bytes_list":
        return pb.Feature(bytes_list=pb.BytesList(value=decode_b64(values)))
    if kind == "float_list":
        try:
            wide = np.array(values, np.float64)
        except OverflowError:
            raise InvalidInput(f"Feature: {name} has a number too big to be stored in double.") from None
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            return pb.Feature(float_list=pb.FloatList(value=wide.astype(np.float32)))
    if kind == "int64_list":
        for item in values:
            if item >= 2**63:
                raise InvalidInput(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        return pb.Feature(int64_list=pb.Int64List(value=map(int, values)))
    return pb.Feature()


def _kind_of(name: str, item: Any) -> str:
    if type(item) is bool or (type(item) is int and -(2**63) <= item < 2**64):
        return "int64_list"
    if type(item) in (int, float):  # integers of more than 64 bits are floats, as in TensorFlow Serving
        return "float_list"
    if type(item) is str or is_b64(item):
        return "bytes_list"
    raise InvalidInput(f"Feature: {name} has element with unexpected JSON type: {kind_of(item)}")

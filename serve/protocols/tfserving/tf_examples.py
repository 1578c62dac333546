"""Examples: tf.Example records, from JSON or from a message, as the inputs of a model's ordinary graph.

A feature bears the name of an input and holds one row of it, flat. TensorFlow Serving needs a graph that parses
serialized records for this; here any graph will do. Whole numbers are taken where a model wants floats: JSON does not
tell ``1`` from ``1.0``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec, numpy_dtype
from serve.codecs.json_arrays import decode_b64, is_b64, shorten

_KIND_NAMES = {"bytes_list": "string", "float_list": "float", "int64_list": "int64"}
_ACCEPTED_KINDS = {"f": ("float_list", "int64_list"), "i": ("int64_list",), "u": ("int64_list",), "b": ("int64_list",)}


def examples_from_json(document: Mapping[str, Any], verb: str) -> pb.Input:
    """The records under ``examples``, with those features of ``context`` that they lack.

    Raises:
        InvalidInput: no records, or features that are not lists of one kind.
    """
    if "examples" not in document:
        raise InvalidInput(f"When method is {verb}, key 'examples' is expected and was not found")
    records = document["examples"]
    if type(records) is not list:
        raise InvalidInput(f"JSON Value: {shorten(records)} Expecting 'examples' value to be an list/array")
    if not records:
        raise InvalidInput("JSON Value: [] 'examples' value is an empty array")
    examples = [_example(record) for record in records]
    if "context" not in document:
        return pb.Input(example_list=pb.ExampleList(examples=examples))
    context = _example(document["context"])
    return pb.Input(example_list_with_context=pb.ExampleListWithContext(examples=examples, context=context))


def example_inputs(given: pb.Input, graph: Graph) -> Arrays:
    """The inputs of ``graph``, a row for each record.

    Raises:
        InvalidInput: no records, a graph without rows, or a feature that is missing or does not fit.
    """
    if not graph.batched:
        raise InvalidInput("this graph does not take rows one by one.", "Use predict.")
    found = getattr(given, given.WhichOneof("kind") or "example_list")
    if not found.examples:
        raise InvalidInput("Input is empty.")
    shared = found.context.features.feature if isinstance(found, pb.ExampleListWithContext) else {}
    records = [example.features.feature for example in found.examples]
    return {name: _column(name, spec, records, shared) for name, spec in graph.inputs.items()}


def _column(
    name: str,
    spec: TensorSpec,
    records: Sequence[Mapping[str, pb.Feature]],
    shared: Mapping[str, pb.Feature],
) -> np.ndarray:
    shape = spec.sizes()[1:]
    if shape.count(-1) > 1:
        raise InvalidInput(f"input '{name}' has several open axes: a flat feature does not tell them.", "Use predict.")
    rows = []
    for index, record in enumerate(records):
        feature = record[name] if name in record else shared.get(name)
        rows.append(_row(f"Name: example {index}, Feature: {name}", feature, spec, shape))
    if len({row.shape for row in rows}) > 1:
        raise InvalidInput(f"Feature: {name} differs in length from example to example.", "Send such examples alone.")
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
    wanted = abs(math.prod(shape))
    if len(values) % wanted if -1 in shape and wanted else len(values) != wanted:
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
    if type(record) is not dict or is_b64(record):
        raise InvalidInput(f"Example must be JSON object but got JSON {shorten(record)}")
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
        with np.errstate(over="ignore"):  # a number too large for a float is infinite
            return pb.Feature(float_list=pb.FloatList(value=np.array(values, np.float64).astype(np.float32)))
    if kind == "int64_list":
        for item in values:
            if not -(2**63) <= item < 2**63:
                raise InvalidInput(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return pb.Feature(int64_list=pb.Int64List(value=map(int, values)))
    return pb.Feature()


def _kind_of(name: str, item: Any) -> str:
    if type(item) in (bool, int):
        return "int64_list"
    if type(item) is float:
        return "float_list"
    if type(item) is str or is_b64(item):
        return "bytes_list"
    raise InvalidInput(f"Feature: {name} has element with unexpected JSON type: {shorten(item)}")

"""Reads and writes TensorFlow Serving's two JSON forms of a prediction: by row (``instances``), by column (``inputs``).

One difference from TensorFlow Serving: an integer outside the range of its type is refused here; there it wraps around.
Source: https://www.tensorflow.org/tfx/serving/api_rest#predict_api
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, TensorSpec
from serve.codecs.json_arrays import is_b64, shorten, to_array
from serve.codecs.json_document import array_to_json, dumps, loads
from serve.codecs.json_pieces import json_pieces
from serve.protocols.tfserving.errors import Unimplemented
from serve.protocols.tfserving.tensors import TYPE_NAMES

Specs = Mapping[str, TensorSpec]


def parse_request(body: bytes, depth: int) -> dict[str, Any]:
    """The JSON object of a request. Bytes after it are ignored.

    Raises:
        InvalidInput: the body is not a JSON object, or is nested more than ``depth`` deep.
    """
    document = loads(body, depth=depth, trailing=True)
    if type(document) is not dict:
        raise InvalidInput(f"JSON Value: {shorten(document)} Is not object")
    if type(document.get("signature_name", "")) is not str:
        raise InvalidInput("JSON Value: {…} not formatted correctly. 'signature_name' key must be a string value.")
    return document


def read_inputs(document: dict[str, Any], inputs: Specs) -> tuple[Arrays, bool]:
    """The input arrays of a request by name, and whether they came by row.

    Raises:
        InvalidInput: the names are not the inputs of the graph, or a value is not of its input's type.
    """
    if "instances" in document and "inputs" in document:
        raise InvalidInput("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in document:
        return _inputs_by_row(document["instances"], inputs), True
    if "inputs" in document:
        return _inputs_by_column(document["inputs"], inputs), False
    raise InvalidInput("Missing 'inputs' or 'instances' key")


def encode_outputs(outputs: Arrays, by_row: bool) -> bytes:
    """The outputs as JSON in the form of the request. The name of a single output is left out.

    Raises:
        InvalidInput: by row, an output has no rows, or another number of them; or a string output is not UTF-8.
    """
    if not by_row:
        columns = {name: _json_value(name, array) for name, array in outputs.items()}
        return dumps({"outputs": columns if len(columns) > 1 else columns.popitem()[1]})
    rows = _count_rows(outputs)
    if len(outputs) == 1:
        return dumps({"predictions": _json_value(*next(iter(outputs.items())))})
    return dumps(
        {
            "predictions": [
                {name: _json_value(name, array[index, ...]) for name, array in outputs.items()} for index in range(rows)
            ]
        }
    )


async def encode_long_outputs(outputs: Arrays, by_row: bool) -> Iterator[bytes]:
    """``encode_outputs`` for long answers: pieces, which are written as they are taken.

    Raises:
        InvalidInput: see ``encode_outputs``.
    """
    rows = _count_rows(outputs) if by_row else 0
    texts = {name: array for name, array in outputs.items() if array.dtype == object}
    if texts:
        texts = await asyncio.to_thread(lambda: {name: _json_value(name, array) for name, array in texts.items()})
    columns = {name: texts.get(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return json_pieces({"predictions" if by_row else "outputs": columns.popitem()[1]})
    if not by_row:
        return json_pieces({"outputs": columns})
    return json_pieces(
        {
            "predictions": (
                {
                    name: column[index, ...] if isinstance(column, np.ndarray) else column[index]
                    for name, column in columns.items()
                }
                for index in range(rows)
            )
        }
    )


def _count_rows(outputs: Arrays) -> int:
    rows = None
    for name, array in outputs.items():
        if not array.ndim:
            raise InvalidInput(f"Tensor name: {name} has no shape information.", "Use the column form, 'inputs'.")
        if rows not in (None, len(array)):
            raise InvalidInput(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}.",
                "Use the column form, 'inputs'.",
            )
        rows = len(array)
    return rows or 0


def _json_value(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array_to_json(array)
    texts = np.empty(array.shape, object)
    for index, item in np.ndenumerate(array):
        texts[index] = {"b64": base64.b64encode(item).decode()} if name.endswith("_bytes") else _decode_text(name, item)
    return texts.tolist()


def _decode_text(name: str, item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"output '{name}' holds bytes that are not UTF-8 text.", "Use gRPC.") from None


def _inputs_by_column(value: Any, inputs: Specs) -> Arrays:
    if type(value) is not dict or is_b64(value):
        if len(inputs) > 1:
            raise InvalidInput(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map: {_names_text(inputs)}"
            )
        value = dict.fromkeys(inputs, value)
    for name in inputs:
        if name not in value:
            raise InvalidInput(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], spec) for name, spec in inputs.items()}


def _inputs_by_row(instances: Any, inputs: Specs) -> Arrays:
    if type(instances) is not list:
        raise InvalidInput(f"JSON Value: {shorten(instances)} Expecting 'instances' to be an list/array")
    if not instances:
        raise InvalidInput("JSON Value: [] No values in 'instances' array")
    if type(instances[0]) is not dict and len(inputs) > 1:
        raise InvalidInput(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map: {_names_text(inputs)}"
        )
    named = _is_row_object(instances[0])
    try:
        if not named:
            return {name: _array(instances, spec) for name, spec in inputs.items()}
        if not all(type(row) is dict and row.keys() == inputs.keys() for row in instances):
            raise InvalidInput(f"keys must be equal to: {_names_text(inputs)}")
        return {name: _array([row[name] for row in instances], spec) for name, spec in inputs.items()}
    except InvalidInput as error:
        raise _first_bad_row(instances, inputs, named) or error from error


def _first_bad_row(instances: list[Any], inputs: Specs, named: bool) -> InvalidInput | None:
    """The error of the first row that does not fit the rows before it; None if every row fits."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(instances):
        if named != _is_row_object(row):
            got = "object but got list" if named else "value/list but got object"
            return InvalidInput(f"Expecting {got} at item {index} of input list")
        items = row if named else dict.fromkeys(inputs, row)
        for name, value in items.items():
            try:
                _check_row_value(name, value, inputs, shapes)
            except InvalidInput as error:
                key = f" key: {name}" if named else ""
                return InvalidInput(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: INVALID_ARGUMENT: {error.message}",
                    error.hint,
                )
        if items.keys() != inputs.keys():
            return InvalidInput(
                f"Failed to process element: {index} of 'instances' list. "
                f"JSON object: {shorten(row)} keys must be equal to: {_names_text(inputs)}"
            )
    return None


def _check_row_value(name: str, value: Any, inputs: Specs, shapes: dict[str, tuple[int, ...]]) -> None:
    if name not in inputs:
        raise InvalidInput(
            f"JSON object: does not have named input: {name}.", f"The inputs are: {_names_text(inputs)}."
        )
    array = _array(value, inputs[name])
    shape = shapes.setdefault(name, array.shape)
    if array.size != np.prod(shape):
        raise InvalidInput(f"Expecting tensor size: {np.prod(shape)} but got: {array.size}")
    if array.shape != shape:
        raise InvalidInput(f"Expecting shape {_shape_text(shape)} but got: {_shape_text(array.shape)}")


def _array(value: Any, spec: TensorSpec) -> np.ndarray:
    type_name = TYPE_NAMES.get(spec.dtype, spec.dtype)
    if spec.dtype == "float16":
        raise Unimplemented(f"Conversion of JSON Value: {shorten(value)} to type: {type_name}.", "Send it over gRPC.")
    return to_array(value, spec.dtype, type_name)


def _is_row_object(row: Any) -> bool:
    return type(row) is dict and not is_b64(row)


def _names_text(inputs: Specs) -> str:
    return ",".join(sorted(inputs))


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"

"""Body: an inference request and its answer over HTTP – JSON, and behind it the tensors sent as bytes.

Source: the protocol's REST form with Triton's binary tensor extension. The header ``Inference-Header-Content-Length``
says where the JSON ends; if it says 0, the whole body is the one input.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.codecs.json_numbers import NUMBER_BYTES, is_readable, parse_numbers
from serve.codecs.json_arrays import to_array
from serve.codecs.json_document import dumps, array_to_json, loads
from serve.models.live_model import LiveModel
from serve.protocols.oip.request import check_parameters, input_spec
from serve.protocols.oip.tensors import DATATYPES, element_count, datatype_of, from_raw, to_raw

#: Says how many bytes of a body are JSON, where others follow.
LENGTH_HEADER = "inference-header-content-length"

_SIZE = "binary_data_size"
#: Bytes of a JSON part that is kept.
_MAX_KEPT = 1024
_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*\[')
_LIST_BYTES = NUMBER_BYTES + b","
#: By the protocol's names, the dtypes of numbers that are read without Python objects.
_NUMBERS = {
    name: np.dtype(dtype) for dtype, name in DATATYPES.items() if dtype != "string" and is_readable(np.dtype(dtype))
}


class InferInput(msgspec.Struct, frozen=True):
    """One tensor of a request: ``data`` flat or nested (or an array already), or the parameter ``binary_data_size``."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = UNSET
    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct, frozen=True):
    """One tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON part of a request; unknown fields and parameters are ignored."""

    inputs: list[InferInput]
    outputs: list[RequestedOutput] = []
    id: str = ""
    parameters: dict[str, Any] = {}


#: Stands for a body without JSON: all of it is the one input, and all outputs are wanted as bytes.
RAW_BODY = InferRequest([], parameters={"binary_data_output": True})


def parse_body(body: bytes, length: str | None, depth: int) -> tuple[InferRequest, memoryview]:
    """The JSON part of a body, nested at most ``depth`` deep, and the bytes behind it.

    Raises:
        InvalidInput: it is not such a request.
    """
    end = len(body)
    if length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 19) or int(length) > len(body):
            raise InvalidInput(f"the header {LENGTH_HEADER} is '{length}'; the body has {len(body)} bytes.")
        end = int(length)
    if length is not None and end == 0:
        return RAW_BODY, memoryview(body)
    text = body[:end]
    if length is None:
        return _parse_flat_numbers(text, depth) or _parse_request(text, depth), memoryview(b"")
    # Tensors sent as bytes leave little to say, and clients say the same again and again.
    return (_parse_known_request if end <= _MAX_KEPT else _parse_request)(text, depth), memoryview(body)[end:]


def parse_long_body(body: bytes, length: str | None, depth: int) -> tuple[InferRequest, memoryview] | None:
    """``parse`` of a long body, where that makes no Python object for each element; None where it would.

    Raises:
        InvalidInput: as ``parse``.
    """
    if length is None:
        request = _parse_flat_numbers(body, depth)
        return None if request is None else (request, memoryview(b""))
    if len(length) > len(str(_MAX_KEPT)):
        return None
    request, binary = parse_body(body, length, depth)
    return None if any(item.datatype == "BYTES" for item in request.inputs) else (request, binary)


def _parse_flat_numbers(text: bytes, depth: int) -> InferRequest | None:
    """A request of one input whose data is a flat list of numbers, read apart from the rest; None for any other."""
    found = _DATA.search(text)
    if found is None:
        return None
    start = found.end()
    end = text.find(b"]", start)
    rest = text[:start] + text[end:]
    # Between unescaped quotes there is no such key in a string, so the one that is there holds the list.
    if end < 0 or _is_unusual(text[start:end], rest):
        return None
    try:
        request = _parse_known_request(rest, depth)
    except InvalidInput:  # whose place in the text would be another
        return None
    item = request.inputs[0] if len(request.inputs) == 1 else None
    if item is None or item.data != [] or item.datatype not in _NUMBERS:
        return None
    array = parse_numbers(memoryview(text)[start - 1 : end + 1], _NUMBERS[item.datatype])
    return None if array is None else replace(request, inputs=[replace(item, data=array)])


def _is_unusual(listed: bytes, rest: bytes) -> bool:
    """Whether the list has more than numbers, or the rest could mean something else without it."""
    return bool(
        len(rest) > _MAX_KEPT
        or not listed
        or listed.translate(None, _LIST_BYTES)
        or b"\\" in rest
        or rest.count(b'"data"') > 1
    )


def _parse_request(text: bytes, depth: int) -> InferRequest:
    document = loads(text, depth=depth)
    try:
        return msgspec.convert(document, InferRequest)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request is not as expected: {error}.") from error


_parse_known_request = lru_cache(1024)(_parse_request)


def read_inputs(live: LiveModel, graph: Graph, request: InferRequest, binary: memoryview) -> Arrays:
    """The arrays that a request holds.

    Raises:
        InvalidInput: an unknown, repeated or malformed input, or bytes that no input claims.
    """
    if request is RAW_BODY:
        return _input_from_raw_body(live, graph, binary)
    arrays: Arrays = {}
    place = 0
    for item in request.inputs:
        check_parameters(item.name, item.parameters)
        spec = input_spec(live, graph, item.name, item.datatype, arrays)
        size = item.parameters.get(_SIZE)
        if size is None:
            arrays[item.name] = _input_from_json(item, spec)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - place:
            raise InvalidInput(
                f"input '{item.name}' has {_SIZE} {size!r:.40}; {len(binary) - place} bytes are left in the body."
            )
        if item.data is not UNSET:
            raise InvalidInput(f"input '{item.name}' has both data and {_SIZE}.")
        arrays[item.name] = from_raw(item.name, binary[place : place + size], spec.dtype, item.shape)
        place += size
    if place != len(binary):
        raise InvalidInput(f"{len(binary) - place} bytes at the end of the body belong to no input.")
    return arrays


def encode_response(live: LiveModel, request: InferRequest, outputs: Arrays) -> tuple[bytes, int | None]:
    """The body that answers a request, and the length of its JSON part where bytes follow.

    Raises:
        InvalidInput: a parameter of the wrong type, or strings that JSON cannot carry.
    """
    wishes = {output.name: output.parameters for output in request.outputs}
    usually = request.parameters.get("binary_data_output", False)
    described, raws = [], []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        as_bytes = wishes.get(name, {}).get("binary_data", usually)
        if type(as_bytes) is not bool:
            raise InvalidInput("the parameters binary_data and binary_data_output are true or false.")
        if as_bytes:
            raws.append(to_raw(array))
            tensor["parameters"] = {_SIZE: len(raws[-1])}
        else:
            tensor["data"] = _output_to_json(name, array)
        described.append(tensor)
    document: dict[str, Any] = {"model_name": live.name, "model_version": str(live.version)}
    if request.id:
        document["id"] = request.id
    text = dumps(document | {"outputs": described})
    return (b"".join([text, *raws]), len(text)) if raws else (text, None)


def _input_from_json(item: InferInput, spec: TensorSpec) -> np.ndarray:
    if type(item.data) is UnsetType:
        raise InvalidInput(f"input '{item.name}' has neither data nor {_SIZE}.")
    elements = element_count(item.name, item.shape)
    try:
        array = (
            item.data if isinstance(item.data, np.ndarray) else to_array(item.data, spec.dtype, DATATYPES[spec.dtype])
        )
    except InvalidInput as error:
        raise InvalidInput(f"input '{item.name}': {error.message}", error.hint) from error
    if array.size != elements:
        raise InvalidInput(f"input '{item.name}' holds {array.size} elements; its shape {item.shape} takes {elements}.")
    return array.reshape(item.shape)


def _output_to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array_to_json(array.reshape(-1))
    try:
        return [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise InvalidInput(
            f"output '{name}' holds bytes that are not UTF-8 text.", "Ask for it with binary_data: true."
        ) from None


def _input_from_raw_body(live: LiveModel, graph: Graph, binary: memoryview) -> Arrays:
    """A body without JSON: the elements of the only input, whose one open axis follows from their number."""
    (name, spec), *others = graph.inputs.items()
    shape = spec.sizes()
    if others or shape.count(-1) > 1 or (spec.dtype == "string" and math.prod(shape) not in (1, -1)):
        raise InvalidInput(
            f"model '{live.name}' cannot be asked with a raw body.",
            f"Send JSON before it, and the header {LENGTH_HEADER}.",
        )
    if spec.dtype == "string":
        return {name: np.array([bytes(binary)], object).reshape([abs(size) for size in shape])}
    row = max(1, abs(math.prod(shape)) * np.dtype(spec.dtype).itemsize)
    shape = [len(binary) // row if size == -1 else size for size in shape]
    return {name: from_raw(name, binary, spec.dtype, shape)}

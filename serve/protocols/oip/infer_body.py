"""Parses the bodies of HTTP inference requests and writes those of responses: JSON, followed by binary tensors.

Source: the protocol's REST form with Triton's binary tensor extension. The header ``Inference-Header-Content-Length``
gives the length of the JSON part; if it is 0, the whole body is the data of the only input.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.codecs.json_arrays import to_array
from serve.codecs.json_document import array_to_json, dumps, loads
from serve.codecs.json_numbers import NUMBER_BYTES, is_readable, parse_numbers
from serve.codecs.json_pieces import byte_pieces, json_pieces
from serve.models.live_model import LiveModel
from serve.protocols.oip.request import check_parameters, drop_nulls, input_spec
from serve.protocols.oip.tensors import BF16, DATATYPES, datatype_of, element_count, from_raw, to_raw, to_raw_view

#: Header with the length in bytes of the JSON part, if binary tensors follow it.
LENGTH_HEADER = "inference-header-content-length"

_SIZE = "binary_data_size"
_Bytes = bytes | memoryview
#: JSON parts up to this length (bytes) are cached after parsing.
_MAX_KEPT = 1024
_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*\[')
_LIST_BYTES = NUMBER_BYTES + b","
#: NumPy dtypes, by datatype, of numbers that are parsed without a Python object for each.
_NUMBERS = {
    name: np.dtype(dtype) for dtype, name in DATATYPES.items() if dtype != "string" and is_readable(np.dtype(dtype))
}


class InferInput(msgspec.Struct, frozen=True):
    """One input tensor: ``data`` (flat, nested, or already an array) or the parameter ``binary_data_size``."""

    name: str
    #: A single number means the one axis of that size, as R's jsonlite writes it.
    shape: list[int] | int
    datatype: str
    data: Any = UNSET
    parameters: dict[str, Any] = {}

    @property
    def sizes(self) -> list[int]:
        """The size of every axis."""
        return [self.shape] if isinstance(self.shape, int) else self.shape


class RequestedOutput(msgspec.Struct, frozen=True):
    """One output that the request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON part of a request; unknown fields and parameters are ignored."""

    inputs: list[InferInput]
    outputs: list[RequestedOutput] = []
    id: str = ""
    parameters: dict[str, Any] = {}


#: Stands for a body without JSON: it is the data of the only input, and all outputs are returned as binary.
RAW_BODY = InferRequest([], parameters={"binary_data_output": True})


def parse_body(body: bytes, length: str | None, depth: int) -> tuple[InferRequest, memoryview]:
    """The JSON part of a body, and the binary tensors after it.

    Raises:
        InvalidInput: the body is not an inference request, or its JSON is nested more than ``depth`` deep.
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
    # With binary tensors the JSON part is short, and clients send the same one again and again.
    return (_parse_known_request if end <= _MAX_KEPT else _parse_request)(text, depth), memoryview(body)[end:]


def parse_long_body(body: bytes, length: str | None, depth: int) -> tuple[InferRequest, memoryview] | None:
    """Like ``parse_body``, for long bodies; None if a Python object for each element would be made.

    Raises:
        InvalidInput: see ``parse_body``.
    """
    if length is None:
        request = _parse_flat_numbers(body, depth)
        return None if request is None else (request, memoryview(b""))
    if len(length) > len(str(_MAX_KEPT)):
        return None
    request, binary = parse_body(body, length, depth)
    return None if any(item.datatype == "BYTES" for item in request.inputs) else (request, binary)


def _parse_flat_numbers(text: bytes, depth: int) -> InferRequest | None:
    """Parse a request with one input and a flat list of numbers as its data; None for any other request."""
    found = _DATA.search(text)
    if found is None:
        return None
    start = found.end()
    end = text.find(b"]", start)
    rest = text[:start] + text[end:]
    # Without escaped quotes, '"data":[' cannot lie within a string, so this key holds the list.
    if end < 0 or _is_unusual(text[start:end], rest):
        return None
    try:
        request = _parse_known_request(rest, depth)
    except InvalidInput:  # parsed again as a whole, so that the error gives the right offset
        return None
    item = request.inputs[0] if len(request.inputs) == 1 else None
    if item is None or item.data != [] or item.datatype not in _NUMBERS:
        return None
    array = parse_numbers(memoryview(text)[start - 1 : end + 1], _NUMBERS[item.datatype])
    return None if array is None else replace(request, inputs=[replace(item, data=array)])


def _is_unusual(listed: bytes, rest: bytes) -> bool:
    """Whether the list holds more than numbers, or taking it out could change the meaning of the rest."""
    return bool(
        len(rest) > _MAX_KEPT
        or not listed
        or listed.translate(None, _LIST_BYTES)
        or b"\\" in rest
        or rest.count(b'"data"') > 1
    )


def _parse_request(text: bytes, depth: int) -> InferRequest:
    document = loads(text, depth=depth)
    if b"null" in text:
        document = drop_nulls(document)
    try:
        return msgspec.convert(document, InferRequest)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request does not have the expected fields: {error}.") from error


_parse_known_request = lru_cache(1024)(_parse_request)


def read_inputs(live: LiveModel, graph: Graph, request: InferRequest, binary: memoryview) -> Arrays:
    """The input arrays of a request, by name.

    Raises:
        InvalidInput: an unknown, repeated or malformed input, or bytes at the end that belong to no input.
    """
    if request is RAW_BODY:
        return _input_from_raw_body(live, graph, binary)
    arrays: Arrays = {}
    offset = 0
    for item in request.inputs:
        check_parameters(item.name, item.parameters)
        spec = input_spec(live, graph, item.name, item.datatype, arrays)
        sent = BF16 if item.datatype == BF16 else spec.dtype
        size = item.parameters.get(_SIZE)
        if size is None:
            if sent == BF16:
                raise InvalidInput(f"input '{item.name}' is {BF16}, which has no JSON form.", "Send it as binary data.")
            arrays[item.name] = _input_from_json(item, spec)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - offset:
            raise InvalidInput(
                f"input '{item.name}' has {_SIZE} {size!r:.40}; {len(binary) - offset} bytes are left in the body."
            )
        if item.data is not UNSET:
            raise InvalidInput(f"input '{item.name}' has both data and {_SIZE}.")
        arrays[item.name] = from_raw(item.name, binary[offset : offset + size], sent, item.sizes)
        offset += size
    if offset != len(binary):
        raise InvalidInput(f"{len(binary) - offset} bytes at the end of the body belong to no input.")
    return arrays


def encode_response(live: LiveModel, request: InferRequest, outputs: Arrays) -> tuple[bytes, int | None]:
    """The response body, and the length of its JSON part if binary tensors follow (else None).

    Raises:
        InvalidInput: a parameter of the wrong type, or a string output that is not UTF-8 and not asked for as binary.
    """
    document, binaries = _describe_outputs(live, request, outputs, _output_to_json, to_raw)
    text = dumps(document)
    return (b"".join([text, *binaries]), len(text)) if binaries else (text, None)


async def encode_long_response(
    live: LiveModel, request: InferRequest, outputs: Arrays
) -> tuple[Iterator[bytes], int | None]:
    """``encode_response`` for long answers: the body in pieces, which are written as they are taken.

    Raises:
        InvalidInput: see ``encode_response``.
    """
    describe = partial(_describe_outputs, live, request, outputs, _output_to_pieces, to_raw_view)
    document, binaries = await asyncio.to_thread(describe)
    pieces = json_pieces(document)
    if not binaries:
        return pieces, None
    written = []
    for piece in pieces:  # their length is sent first
        written.append(piece)
        await asyncio.sleep(0)
    tensors = chain.from_iterable(byte_pieces(memoryview(binary)) for binary in binaries)
    return chain(written, tensors), sum(map(len, written))


def _describe_outputs(
    live: LiveModel,
    request: InferRequest,
    outputs: Arrays,
    to_json: Callable[[str, np.ndarray], Any],
    to_binary: Callable[[np.ndarray], _Bytes],
) -> tuple[dict[str, Any], list[_Bytes]]:
    """The JSON part of a response as a document, and the tensors that follow it in binary form."""
    parameters = {output.name: output.parameters for output in request.outputs}
    by_default = request.parameters.get("binary_data_output", False)
    tensors: list[dict[str, Any]] = []
    binaries: list[_Bytes] = []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        as_binary = parameters.get(name, {}).get("binary_data", by_default)
        if type(as_binary) is not bool:
            raise InvalidInput("the parameters binary_data and binary_data_output must be true or false.")
        if as_binary:
            binaries.append(to_binary(array))
            tensor["parameters"] = {_SIZE: len(binaries[-1])}
        else:
            tensor["data"] = to_json(name, array)
        tensors.append(tensor)
    document: dict[str, Any] = {"model_name": live.name, "model_version": str(live.version)}
    if request.id:
        document["id"] = request.id
    return document | {"outputs": tensors}, binaries


def _input_from_json(item: InferInput, spec: TensorSpec) -> np.ndarray:
    if type(item.data) is UnsetType:
        raise InvalidInput(f"input '{item.name}' has neither data nor {_SIZE}.")
    sizes = item.sizes
    elements = element_count(item.name, sizes)
    try:
        array = (
            item.data if isinstance(item.data, np.ndarray) else to_array(item.data, spec.dtype, DATATYPES[spec.dtype])
        )
    except InvalidInput as error:
        raise InvalidInput(f"input '{item.name}': {error.message}", error.hint) from error
    if array.size != elements:
        raise InvalidInput(f"input '{item.name}' holds {array.size} elements; its shape {sizes} takes {elements}.")
    return array.reshape(sizes)


def _output_to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array_to_json(array.reshape(-1))
    try:
        return [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise InvalidInput(
            f"output '{name}' holds bytes that are not UTF-8 text.", "Request it with binary_data: true."
        ) from None


def _output_to_pieces(name: str, array: np.ndarray) -> Any:
    """The elements of an output as ``json_pieces`` takes them."""
    return array.reshape(-1) if array.dtype != object else _output_to_json(name, array)


def _input_from_raw_body(live: LiveModel, graph: Graph, binary: memoryview) -> Arrays:
    """The input in a body without JSON. The size of its one open axis follows from the length of the body."""
    (name, spec), *others = graph.inputs.items()
    shape = spec.sizes()
    if others or shape.count(-1) > 1 or (spec.dtype == "string" and math.prod(shape) not in (1, -1)):
        raise InvalidInput(
            f"model '{live.name}' does not take a raw body: it needs one input with one open axis.",
            f"Send JSON before the data, and its length in the header {LENGTH_HEADER}.",
        )
    if spec.dtype == "string":
        return {name: np.array([bytes(binary)], object).reshape([abs(size) for size in shape])}
    row = max(1, abs(math.prod(shape)) * np.dtype(spec.dtype).itemsize)
    shape = [len(binary) // row if size == -1 else size for size in shape]
    return {name: from_raw(name, binary, spec.dtype, shape)}

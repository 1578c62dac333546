"""Tensors: the Open Inference Protocol's datatypes, and raw bytes (little-endian, row-major) as arrays and back."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype
from serve.codecs.json_arrays import is_shape

#: By the dtypes of a graph.
DATATYPES: Mapping[str, str] = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}

_DATATYPE_BY_DTYPE = {numpy_dtype(name): word for name, word in DATATYPES.items()}


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name of an array's element type."""
    return _DATATYPE_BY_DTYPE[array.dtype]


def element_count(name: str, shape: Sequence[int]) -> int:
    """How many elements an input of that shape has.

    Raises:
        InvalidInput: a negative size, or too many axes or elements.
    """
    if not is_shape(shape):
        raise InvalidInput(f"input '{name}' has no usable shape.", "Send the size of every axis.")
    return math.prod(shape)


def from_raw(name: str, data: bytes | memoryview, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """The array of a graph's ``dtype`` whose elements are ``data``.

    Raises:
        InvalidInput: not as many bytes as the shape takes; for strings, not as many lengths and strings.
    """
    elements = element_count(name, shape)
    if dtype == "string":
        return _strings(name, bytes(data), elements).reshape(shape)
    element = numpy_dtype(dtype)
    if len(data) != elements * element.itemsize:
        raise InvalidInput(
            f"input '{name}' holds {len(data)} bytes; its shape {list(shape)} takes {elements * element.itemsize}."
        )
    if dtype == "bool":
        return np.frombuffer(data, np.uint8).astype(bool).reshape(shape)
    array = _little_endian(np.frombuffer(data, element)).reshape(shape)
    # Behind a JSON header it may begin at any byte; the runtime wants whole words.
    return array if array.flags.aligned else array.copy()


def to_raw(array: np.ndarray) -> bytes:
    """The elements of an array; each string behind its length."""
    if array.dtype == object:
        return b"".join([struct.pack("<I", len(item)) + item for item in array.ravel().tolist()])
    return _little_endian(array).tobytes()


def _little_endian(array: np.ndarray) -> np.ndarray:
    """From the wire's order of bytes to the machine's, or back."""
    return array if sys.byteorder == "little" else array.byteswap()


def _strings(name: str, data: bytes, elements: int) -> np.ndarray:
    wrong = InvalidInput(
        f"input '{name}' does not hold {elements} strings.", "Each is a length (uint32, little-endian) and its bytes."
    )
    if 4 * elements > len(data):
        raise wrong
    array = np.empty(elements, object)
    place = 0
    for index in range(elements):
        if place + 4 > len(data):
            raise wrong
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        if end > len(data):
            raise wrong
        array[index] = data[place + 4 : end]
        place = end
    if place != len(data):
        raise wrong
    return array

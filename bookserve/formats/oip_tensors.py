"""The datatypes of the Open Inference Protocol, and the conversion of arrays from and to its binary form.

Binary tensors are little-endian and row-major; each string is its length (uint32) followed by its bytes.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype

#: The protocol's datatype by the dtype of a graph's tensor.
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

#: bfloat16: the upper two bytes of a float32, in binary form only. NumPy and the graphs have no such type; an input of
#: this datatype becomes float32.
BF16 = "BF16"

_DATATYPE_BY_DTYPE = {numpy_dtype(name): word for name, word in DATATYPES.items()}


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name of an array's element type."""
    return _DATATYPE_BY_DTYPE[array.dtype]


def from_raw(name: str, data: bytes | memoryview, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """The array of a graph's ``dtype`` (or float32 from ``BF16``) and this shape from its binary form.

    Raises:
        InvalidInput: ``data`` has not as many bytes, or as many strings, as the shape needs; the message has ``name``.
    """
    elements = math.prod(shape)
    if dtype == "string":
        return _strings(name, bytes(data), elements).reshape(shape)
    element = np.dtype(np.uint16) if dtype == BF16 else numpy_dtype(dtype)
    if len(data) != elements * element.itemsize:
        raise InvalidInput(
            f"{name} holds {len(data)} bytes; its shape {list(shape)} takes {elements * element.itemsize}."
        )
    if dtype == "bool":
        return np.frombuffer(data, np.uint8).astype(bool).reshape(shape)
    array = _little_endian(np.frombuffer(data, element)).reshape(shape)
    if dtype == BF16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    # After a JSON part the data may begin at any offset; the runtime needs aligned memory.
    return array if array.flags.aligned else array.copy()


def to_raw(array: np.ndarray) -> bytes:
    """The binary form of an array."""
    if array.dtype == object:
        return b"".join([struct.pack("<I", len(item)) + item for item in array.ravel().tolist()])
    return _little_endian(array).tobytes()


def to_raw_view(array: np.ndarray) -> memoryview:
    """The binary form of an array, without a copy where its memory has that form already."""
    if array.dtype != object and array.flags.c_contiguous and sys.byteorder == "little":
        return array.reshape(-1).view(np.uint8).data
    return memoryview(to_raw(array))


def _little_endian(array: np.ndarray) -> np.ndarray:
    """Convert between little-endian and the byte order of this machine, in either direction."""
    return array if sys.byteorder == "little" else array.byteswap()


def _strings(name: str, data: bytes, elements: int) -> np.ndarray:
    wrong = InvalidInput(
        f"{name} does not hold {elements} strings.", "Each is a length (uint32, little-endian) and its bytes."
    )
    if 4 * elements > len(data):
        raise wrong
    array = np.empty(elements, object)
    offset = 0
    for index in range(elements):
        if offset + 4 > len(data):
            raise wrong
        end = offset + 4 + int.from_bytes(data[offset : offset + 4], "little")
        if end > len(data):
            raise wrong
        array[index] = data[offset + 4 : end]
        offset = end
    if offset != len(data):
        raise wrong
    return array

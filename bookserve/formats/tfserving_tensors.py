"""TensorFlow's TensorProto as arrays, and arrays as TensorProto, for the server and for the client.

Elements may stand in ``tensor_content`` or in the typed list. ``to_tensor`` uses the typed list, as TensorFlow Serving
does, since clients read ``float_val`` and the like directly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.graph import numpy_dtype

#: TensorFlow's number of each dtype.
NUMBERS: Mapping[str, pb.DataType] = {
    "bool": pb.DT_BOOL,
    "int8": pb.DT_INT8,
    "int16": pb.DT_INT16,
    "int32": pb.DT_INT32,
    "int64": pb.DT_INT64,
    "uint8": pb.DT_UINT8,
    "uint16": pb.DT_UINT16,
    "uint32": pb.DT_UINT32,
    "uint64": pb.DT_UINT64,
    "float16": pb.DT_HALF,
    "float32": pb.DT_FLOAT,
    "float64": pb.DT_DOUBLE,
    "string": pb.DT_STRING,
}
#: TensorFlow's names of element types in messages, where they differ from NumPy's.
TYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}
#: The dtype of each of TensorFlow's numbers.
DTYPES: Mapping[int, str] = {number: dtype for dtype, number in NUMBERS.items()}
_FIELDS = {
    "bool": "bool_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "int64": "int64_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "float16": "half_val",
    "float32": "float_val",
    "float64": "double_val",
    "string": "string_val",
}


def to_array(name: str, tensor: pb.TensorProto) -> np.ndarray:
    """The array that a TensorProto holds. If the typed list is too short, its last element stands for the missing ones.

    Raises:
        InvalidInput: an unsupported type, or the wrong number of elements; the message has ``name``.
    """
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        known = pb.DataType.values()
        word = pb.DataType.Name(tensor.dtype) if tensor.dtype in known else f"number {tensor.dtype}"
        raise InvalidInput(f"{name} has type {word}, which is not supported.")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    count = math.prod(shape)
    content = tensor.tensor_content
    flat = _from_content(name, content, dtype, count) if content else _from_list(name, tensor, dtype)
    if flat.size == count:
        return flat.reshape(shape)
    if content or not 0 < flat.size < count:
        raise InvalidInput(f"{name} holds {flat.size} elements; its shape {shape} takes {count}.")
    return np.concatenate([flat, np.full(count - flat.size, flat[-1], flat.dtype)]).reshape(shape)


def to_tensor(array: np.ndarray) -> pb.TensorProto:
    """A TensorProto with the array's elements in the typed list."""
    dtype = "string" if array.dtype == object else array.dtype.name
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in array.shape])
    tensor = pb.TensorProto(dtype=NUMBERS[dtype], tensor_shape=shape)
    if dtype in ("float32", "float64"):
        # The encoded list is the bytes of its elements; merging them is thirty times faster than adding elements.
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        number = pb.TensorProto.DESCRIPTOR.fields_by_name[_FIELDS[dtype]].number
        tensor.MergeFromString(bytes([number << 3 | 2]) + encode_varint(len(raw)) + raw)
        return tensor
    plain: list[Any] = (array.view(np.uint16) if dtype == "float16" else array).ravel().tolist()
    getattr(tensor, _FIELDS[dtype]).extend(plain)
    return tensor


def _from_content(name: str, content: bytes, dtype: str, count: int) -> np.ndarray:
    if dtype == "string":
        return _strings(name, content, count)
    element = numpy_dtype(dtype).newbyteorder("<")
    if len(content) != count * element.itemsize:
        raise InvalidInput(f"{name} holds {len(content)} bytes; its shape and type take {count * element.itemsize}.")
    flat = np.frombuffer(content, np.uint8 if dtype == "bool" else element)
    return flat.astype(bool) if dtype == "bool" else flat.astype(element.newbyteorder("="), copy=False)


def _from_list(name: str, tensor: pb.TensorProto, dtype: str) -> np.ndarray:
    elements = getattr(tensor, _FIELDS[dtype])
    if dtype == "string":
        flat = np.empty(len(elements), object)
        flat[:] = list(elements)
        return flat
    wide = np.array(elements)
    if dtype == "float16":
        return wide.astype(np.uint16).view(np.float16)
    narrow = wide.astype(dtype, copy=False)
    if narrow.dtype.kind in "iu" and not np.array_equal(narrow, wide):
        raise InvalidInput(f"{name} has elements out of the range of {dtype}.")
    return narrow


def _strings(name: str, content: bytes, count: int) -> np.ndarray:
    """Strings in ``tensor_content``: all lengths as varints, then all bytes."""
    wrong = InvalidInput(f"{name} has a tensor_content that is not {count} strings.")
    if count > len(content):
        raise wrong
    lengths, offset = [], 0
    for _ in range(count):
        length, shift = 0, 0
        while True:
            if offset == len(content) or shift > 28:
                raise wrong
            byte = content[offset]
            offset, length, shift = offset + 1, length | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        lengths.append(length)
    if offset + sum(lengths) != len(content):
        raise wrong
    flat = np.empty(count, object)
    for index, length in enumerate(lengths):
        flat[index] = content[offset : offset + length]
        offset += length
    return flat


def encode_varint(number: int) -> bytes:
    """A number of at least 0 in protobuf's variable-length form."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])

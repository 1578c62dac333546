"""TensorProto as arrays and back, in every type and both encodings; the wrong ones are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.graph import DTYPES, numpy_dtype
from serve.protocols.tfserving.tensors import NUMBERS, to_array, to_tensor
from serve.security.limits import Limits


def example(dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.array([[b"", b"a\0b", b"\xff" * 200]], object)
    return np.array([[0, 1, 1]]).astype(dtype) if dtype == "bool" else np.array([[0, 1, 100]]).astype(dtype)


def shape(*sizes: int) -> pb.TensorShapeProto:
    return pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in sizes])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back(dtype: str) -> None:
    array = example(dtype)
    tensor = pb.TensorProto.FromString(to_tensor(array).SerializeToString())
    assert tensor.dtype == NUMBERS[dtype]
    assert not tensor.tensor_content
    back = to_array("x", tensor, Limits())
    assert back.dtype == numpy_dtype(dtype)
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "string"])
def test_every_type_is_read_from_its_bytes(dtype: str) -> None:
    array = example(dtype)
    tensor = pb.TensorProto(dtype=NUMBERS[dtype], tensor_shape=shape(1, 3), tensor_content=array.tobytes())
    assert np.array_equal(to_array("x", tensor, Limits()), array)
    assert to_array("x", tensor, Limits()).dtype == array.dtype


def test_extreme_and_odd_numbers_come_back() -> None:
    for array in (
        np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32),
        np.array([-(2**63), 2**63 - 1]),
        np.array([2**64 - 1], np.uint64),
        np.array([-128, 127], np.int8),
        np.array([np.nan, 65504], np.float16),
        np.array(3.5),
        np.zeros((2, 0), np.float32),
        np.arange(1000, dtype=np.float64),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array([1, 2], np.longlong),
    ):
        back = to_array("x", to_tensor(array), Limits())
        assert back.dtype == array.dtype
        assert np.array_equal(back, array, equal_nan=True)


def test_the_last_element_stands_for_those_that_are_missing() -> None:
    tensor = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape(2, 2), float_val=[1, 2])
    assert to_array("x", tensor, Limits()).tolist() == [[1, 2], [2, 2]]
    tensor = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape(2, 3), float_val=[7])
    assert to_array("x", tensor, Limits()).tolist() == [[7, 7, 7], [7, 7, 7]]
    tensor = pb.TensorProto(dtype=pb.DT_STRING, tensor_shape=shape(2), string_val=[b"s"])
    assert to_array("x", tensor, Limits()).tolist() == [b"s", b"s"]


def test_strings_in_tensor_content() -> None:
    long = b"z" * 300
    content = bytes([1, 0, 300 & 127 | 128, 300 >> 7]) + b"a" + long
    tensor = pb.TensorProto(dtype=pb.DT_STRING, tensor_shape=shape(3), tensor_content=content)
    assert to_array("x", tensor, Limits()).tolist() == [b"a", b"", long]


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": 0, "tensor_shape": shape(1), "float_val": [1]},
        {"dtype": 14, "tensor_shape": shape(1), "half_val": [1]},
        {"dtype": 8, "tensor_shape": shape(1), "scomplex_val": [1, 2]},
        {"dtype": 999, "tensor_shape": shape(1), "float_val": [1]},
        {"dtype": 1, "tensor_shape": shape(2), "float_val": []},
        {"dtype": 1, "tensor_shape": shape(1), "float_val": [1, 2]},
        {"dtype": 1, "tensor_shape": shape(1), "double_val": [1]},
        {"dtype": 1, "tensor_shape": shape(-1), "float_val": [1]},
        {"dtype": 1, "tensor_shape": shape(-1, -1), "float_val": [1]},
        {"dtype": 1, "tensor_shape": pb.TensorShapeProto(unknown_rank=True), "float_val": [1]},
        {"dtype": 1, "tensor_shape": shape(2**40), "float_val": [1]},
        {"dtype": 1, "tensor_shape": shape(2**62, 2**62, 4), "float_val": [1]},
        {"dtype": 1, "tensor_shape": shape(2**32, 2**32), "tensor_content": b"1234"},
        {"dtype": 1, "tensor_shape": shape(*[1] * 100), "float_val": [1]},
        {"dtype": 1, "tensor_shape": shape(2), "tensor_content": b"1234567"},
        {"dtype": 6, "tensor_shape": shape(1), "int_val": [300]},
        {"dtype": 4, "tensor_shape": shape(1), "int_val": [-1]},
        {"dtype": 7, "tensor_shape": shape(2**40), "tensor_content": b"\0"},
        {"dtype": 7, "tensor_shape": shape(1), "tensor_content": b"\xff\xff\xff\xff\xff\xff"},
        {"dtype": 7, "tensor_shape": shape(1), "tensor_content": b"\5abc"},
        {"dtype": 7, "tensor_shape": shape(1), "tensor_content": b"\1abc"},
    ],
)
def test_what_is_no_tensor_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="input 'x'"):
        to_array("x", pb.TensorProto(**fields), Limits())

"""The Open Inference Protocol's raw tensors as arrays and back; the wrong ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.graph import DTYPES
from serve.protocols.oip.tensors import DATATYPES, datatype_of, from_raw, to_raw


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_from_any_place_in_a_body(dtype: str) -> None:
    array = np.array([[b"", b"a\0", b"\xff"]], object) if dtype == "string" else np.array([[0, 1, 100]]).astype(dtype)
    for before in (b"", b"{", b"{}", b"{} "):
        back = from_raw("x", memoryview(before + to_raw(array))[len(before) :], dtype, [1, 3])
        assert back.dtype == array.dtype
        assert back.tolist() == array.tolist()
        assert back.flags.aligned
    assert datatype_of(array) == DATATYPES[dtype]


def test_strings_are_written_behind_their_lengths() -> None:
    assert to_raw(np.array([b"ab", b""], object)) == b"\2\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (b"1234", "float32", [2]),
        (b"12345", "float32", [1]),
        (b"", "float32", [1]),
        (b"1234", "float32", [-1]),
        (b"1234", "float32", [-1, -1]),
        (b"1234", "float32", [2**32, 2**32]),
        (b"1234", "float32", [1] * 100),
        (b"", "int64", [0, 2**62]),
        (b"", "bool", [0, 2**63]),
        (b"", "float32", [2**40, 0, 2**40]),
        (b"\1\0\0\0a", "string", [2]),
        (b"\5\0\0\0a", "string", [1]),
        (b"\1\0\0\0ab", "string", [1]),
        (b"\xff\xff\xff\xffa", "string", [1]),
        (b"\1\0\0\0a\1\0\0", "string", [2]),
        (b"", "string", [2**40]),
    ],
)
def test_what_is_no_tensor_is_refused(data: bytes, dtype: str, shape: list[int]) -> None:
    with pytest.raises(InvalidInput, match="input 'x'"):
        from_raw("x", data, dtype, shape)

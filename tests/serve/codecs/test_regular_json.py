"""The quick way through a request: it answers as the slow way does, or not at all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bookserve.errors import BookserveError
from bookserve.graph import Arrays, TensorSpec
from serve.codecs import regular_json as regular
from serve.protocols.tfserving import predict_json as rows

SPECS = {
    "floats": {"x": TensorSpec("float32", ("batch", 2, 3))},
    "ids": {"x": TensorSpec("int32", ("batch", 3))},
    "small": {"x": TensorSpec("uint8", ("batch", 2))},
    "scalars": {"x": TensorSpec("float64", ("batch",))},
}


def slowly(body: bytes, specs: dict[str, TensorSpec]) -> tuple[Arrays, bool]:
    return rows.read_inputs(rows.parse_request(body, 64), specs)


@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("kind", SPECS)
def test_regular_requests_are_read_as_the_slow_way_reads_them(kind: str, count: int, key: str) -> None:
    specs = SPECS[kind]
    spec = specs["x"]
    values = np.random.default_rng(count).normal(0, 100, [count, *spec.sizes()[1:]])
    values = np.abs(values).astype(np.uint8) if spec.dtype == "uint8" else values
    values = values.astype(int) if spec.dtype.startswith("int") else values
    for form in ({}, {"indent": 2}, {"separators": (",", ":")}):
        body = json.dumps({key: values.tolist()}, **form).encode()  # type: ignore[arg-type]
        quick = regular.parse_regular(body, specs)
        assert quick is not None
        feeds, by_row = slowly(body, specs)
        assert quick[1] is by_row
        assert quick[0]["x"].dtype == feeds["x"].dtype
        np.testing.assert_array_equal(quick[0]["x"], feeds["x"], strict=True)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ids", b""),
        ("ids", b"[[1,2,3]]"),
        ("ids", b'{"instances": [[1,2,3]]'),
        ("ids", b'{"instances": [[1,2,3]]}}'),
        ("ids", b'{"instances": [[1,2,3]]} trailing'),
        ("ids", b'{"instances": [[1,2,3]], "signature_name": "x"}'),
        ("ids", b'{"signature_name": "x", "instances": [[1,2,3]]}'),
        ("ids", b'{"instances": [[1,2]]}'),
        ("ids", b'{"instances": [[1,2,3],[1,2]]}'),
        ("ids", b'{"instances": [1,2,3]}'),
        ("ids", b'{"instances": []}'),
        ("ids", b'{"instances": [[]]}'),
        ("ids", b'{"instances": [[1,2,3],]}'),
        ("ids", b'{"instances": [[1,,3]]}'),
        ("ids", b'{"instances": [[,2,3]]}'),
        ("ids", b'{"instances": [[1 2,2,3]]}'),
        ("ids", b'{"instances": [[1.0,2,3]]}'),
        ("ids", b'{"instances": [[1e0,2,3]]}'),
        ("ids", b'{"instances": [[-,2,3]]}'),
        ("ids", b'{"instances": [[01,2,3]]}'),
        ("ids", b'{"instances": [[true,2,3]]}'),
        ("ids", b'{"instances": [["1",2,3]]}'),
        ("ids", b'{"instances": [[null,2,3]]}'),
        ("ids", b'{"instances": [[99999999999,2,3]]}'),
        ("ids", b'{"instances": [{"x": [1,2,3]}]}'),
        ("ids", b'{"inputs": {"x": [[1,2,3]]}}'),
        ("ids", b'{"instances": [[1,2,]3]}'),
        ("ids", b'{"instances": [1[,2,3]]}'),
        ("ids", b'{"instances": [[1,2,3],-[4,5,6]]}'),
        ("ids", b'{"instances": -[[1,2,3]]}'),
        ("ids", b'{"instances": [[1,2,3]]1}'),
        ("small", b'{"instances": [[1,300]]}'),
        ("small", b'{"instances": [[1,-1]]}'),
        ("floats", b'{"instances": [[[1,2,3],[4,5,NaN]]]}'),
        ("floats", b'{"instances": [[[1,2,3],[4,5]]]}'),
        ("floats", b'{"instances": [[[1,2],[3,4],[5,6]]]}'),
        ("scalars", b'{"inputs": 3}'),
    ],
)
def test_whatever_else_is_left_to_the_slow_way(kind: str, body: bytes) -> None:
    assert regular.parse_regular(body, SPECS[kind]) is None


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("string", ("batch", 1)),
        TensorSpec("bool", ("batch", 1)),
        TensorSpec("float16", ("batch", 1)),
        TensorSpec("float32", ("batch", "time")),
        TensorSpec("float32", (2, 1)),
        TensorSpec("float32", ()),
    ],
)
def test_other_tensors_are_left_to_the_slow_way(spec: TensorSpec) -> None:
    assert regular.parse_regular(b'{"instances": [[1],[2]]}', {"x": spec}) is None


def test_damaged_bodies_never_get_another_meaning() -> None:
    """Every body with one byte changed, dropped or doubled is read like the slow way reads it, or is left to it."""
    whole = b'{"instances": [[1, 20, -3], [4, 5, 6e0]]}'
    specs = {"x": TensorSpec("float32", ("batch", 3))}
    taken = 0
    for at in range(len(whole)):
        for piece in (b"", whole[at : at + 1] * 2, *(bytes([byte]) for byte in b'0-.,[]{}e "x')):
            body = whole[:at] + piece + whole[at + 1 :]
            quick = regular.parse_regular(body, specs)
            if quick is None:
                continue
            taken += 1
            expected: Any = None
            try:
                expected = slowly(body, specs)
            except BookserveError as error:
                pytest.fail(f"{body!r} was read, but is refused: {error}")
            np.testing.assert_array_equal(quick[0]["x"], expected[0]["x"], strict=True)
    assert taken > 50

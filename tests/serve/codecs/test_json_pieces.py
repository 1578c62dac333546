"""Long JSON in pieces: the same text as at once, and no piece longer than it may be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from serve.codecs.json_document import array_to_json, array_to_strict_json, dumps
from serve.codecs.json_pieces import PIECE_BYTES, is_long, json_pieces


def written(document: Any, *options: Any) -> bytes:
    pieces = list(json_pieces(document, *options))
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize(
    "shape", [(), (0,), (3,), (100_000,), (3, 50_000), (50_000, 3), (2, 3, 30_000), (30_001, 1, 2), (2, 0)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_arrays(shape: tuple[int, ...], dtype: str) -> None:
    array = (np.random.default_rng(1).standard_normal(shape) * 1e3).astype(dtype)
    assert written({"a": array, "b": [array]}) == dumps({"a": array_to_json(array), "b": [array_to_json(array)]})


def test_the_longest_numbers_fit() -> None:
    longest = np.full(300_000, -1.2345678901234567e-300)
    assert json.loads(written(longest)) == longest.tolist()
    assert json.loads(written(np.full(300_000, -(2**63)))) == [-(2**63)] * 300_000


def test_what_is_not_finite() -> None:
    array = np.array([1, math.nan, math.inf, -math.inf] * 20_000, np.float32)
    assert written([array]) == b"[[%b]]" % b",".join([b"1.0,NaN,Infinity,-Infinity"] * 20_000)
    assert written([array], array_to_strict_json) == b"[[%b]]" % b",".join([b"1.0,null,null,null"] * 20_000)


def test_documents() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for index in range(5000):
            yield {"x": np.float32(index) * np.ones(2, np.float32), "y": np.array(index)}

    document = {"empty": {}, "none": [], "text": "a" * 3_000_000, "number": 0.1, "json": b'{"a":1}', "rows": rows()}
    read = json.loads(written(document))
    assert read["rows"] == [{"x": [index, index], "y": index} for index in range(5000)]
    assert (read["empty"], read["none"], read["text"]) == ({}, [], "a" * 3_000_000)
    assert (read["number"], read["json"]) == (0.1, {"a": 1})
    items = [{"text": "é" * 10, "top": {"a": index}} for index in range(1001)]
    assert json.loads(written({"items": items, "names": ["a"] * 50_000})) == {"items": items, "names": ["a"] * 50_000}


def test_rows_are_made_as_they_are_sent() -> None:
    made = []

    def rows() -> Iterator[bytes]:
        for index in range(10_000):
            made.append(index)
            yield b"0"

    next(json_pieces({"rows": rows()}))
    assert len(made) < 1000


def test_which_answers_are_long() -> None:
    assert not is_long([np.zeros(40_000), np.zeros(0)])
    assert is_long([np.zeros(20_000), np.zeros((2, 10_001))])

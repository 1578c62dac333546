"""Graph.check: what may be run, and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.graph import Graph, TensorSpec

GRAPH = Graph(
    inputs={"a": TensorSpec("float32", ("batch", "time", 2)), "b": TensorSpec("int64", ("batch",))},
    outputs={"y": TensorSpec("float32", ("batch",))},
)


def feeds(rows: int = 3, time: int = 4, width: int = 2, others: int | None = None) -> dict[str, np.ndarray]:
    return {"a": np.zeros((rows, time, width), np.float32), "b": np.zeros(rows if others is None else others, np.int64)}


def test_the_batch_is_counted() -> None:
    assert GRAPH.check(feeds()) == 3
    assert GRAPH.batched
    fixed = Graph(inputs={"x": TensorSpec("float32", (2,))}, outputs={})
    assert fixed.check({"x": np.zeros(2, np.float32)}) == 1
    assert not fixed.batched


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"a": feeds()["a"]}, "'a', 'b'"),
        (feeds() | {"c": np.zeros(1)}, "'c'"),
        (feeds() | {"b": np.zeros(3, np.int32)}, r"int64\[batch\]"),
        (feeds(width=3), "float32"),
        (feeds(others=2), "'b' has shape"),
        (feeds() | {"b": np.zeros((3, 1), np.int64)}, "shape"),
        (feeds(rows=0), "no rows"),
        (feeds(time=0), "no rows"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(given: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        GRAPH.check(given)

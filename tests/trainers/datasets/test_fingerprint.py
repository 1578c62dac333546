"""Equal rows have equal fingerprints; a changed row, shape or dtype gives another."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.datasets.arrays import LazilyEncoded, TrainingArrays, object_array
from trainers.datasets.fingerprint import fingerprint

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


def of(x: np.ndarray, y: np.ndarray = Y) -> str:
    return fingerprint({"train": TrainingArrays(x, y), "test": None})


def test_equal_rows_have_equal_fingerprints() -> None:
    assert of(X) == of(X.copy())
    lazy = TrainingArrays(LazilyEncoded(X, ()), Y)
    assert fingerprint({"train": lazy}) == of(X)
    assert of(object_array([[1], [2, 3]]), Y[:2]) == of(object_array([[1], [2, 3]]), Y[:2])


@pytest.mark.parametrize("other", [X + 1, X[:9], X.astype(np.float32), X[::-1]])
def test_other_rows_have_other_fingerprints(other: np.ndarray) -> None:
    assert of(X) != of(other, Y[: len(other)])
    assert of(object_array([[1], [2, 3]]), Y[:2]) != of(object_array([[1], [2, 4]]), Y[:2])

"""Numbers of rows reach the model as they were sent, or are refused: none is rounded, wrapped or made infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.steps import Numbers

BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        ("int64", [[BIG, 1.0], [2.0, 3]]),
        ("int64", [[BIG, -1], [2**63 - 1, -(2**63)]]),
        ("int64", [[float(2**60), BIG]]),
        ("uint64", [[2**64 - 1, 1]]),
        ("uint64", [[2**64 - 1, 1.0]]),
        ("uint8", [[255.0, 0]]),
        ("float32", [[2.0**127, -3]]),
        ("float64", [[1e308, 2**70]]),
        ("bool", [[1, 0.0]]),
    ],
)
def test_numbers_that_fit_are_kept(dtype: str, rows: list[Any]) -> None:
    array = Numbers(dtype, (2,))(rows)
    assert array.dtype == dtype
    assert [[int(item) if isinstance(item, int) else item for item in row] for row in array.tolist()] == rows


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        ("int64", [[BIG, 1.5]]),
        ("int64", [[2**63, 1]]),
        ("int64", [[float(2**63), BIG]]),
        ("uint64", [[2**64, 1]]),
        ("uint64", [[2**64 - 1, -1]]),
        ("uint64", [[BIG, -1.0]]),
        ("int32", [[2**31, 1.0]]),
        ("int64", [[10**400, 1]]),
        ("float32", [[1e39, 1]]),
        ("float32", [[10**39, 1]]),
        ("float16", [[70_000, 1]]),
        ("float64", [[10**400, 1]]),
        ("bool", [[2**70, 1]]),
    ],
)
def test_numbers_that_do_not_fit_are_refused(dtype: str, rows: list[Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{dtype}"):
        Numbers(dtype, (2,))(rows)


def test_what_is_infinite_stays_so() -> None:
    rows = np.array([[np.inf, -np.inf, np.nan]])
    assert Numbers("float32", (3,))(rows).tolist()[0][:2] == [np.inf, -np.inf]

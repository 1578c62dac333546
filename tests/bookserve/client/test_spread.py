"""Rows that are spread over nodes: every row once, in order, with errors that name the row; without Ray."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.bundle.packing import pack_bundle
from bookserve.client import spread
from bookserve.client.answers import AnswerTable
from bookserve.client.parts import Part, Segment
from bookserve.cluster import Cluster, Node
from bookserve.errors import InvalidInput, NotFound
from bookserve.table import UNNAMED, Table
from clients.predict_parts import predict_parts


class Threads(Cluster):
    """Two nodes in this process. Arguments are copied, as on their way to a machine; some parts are done twice."""

    def __init__(self) -> None:
        self.nodes = [Node("1", "one", "10.0.0.1", 1, 0), Node("2", "two", "10.0.0.2", 1, 0)]
        self.calls = 0
        self._lock = threading.Lock()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            self.calls += 1
            lost = self.calls % 3 == 0
        if lost:  # a node died after it had predicted, before anybody had the answer
            function(*copy.deepcopy(arguments))
        return function(*copy.deepcopy(arguments))

    def share(self, value: Any) -> Any:
        return value


@pytest.fixture
def spread_out(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> spread.Spread:
    """The model ``affine`` on those nodes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(spread, "shared", lambda value: value)
    monkeypatch.setattr(spread, "_opened", {})
    return spread.Spread(Threads(), f"local:{models}", "affine")


def parts(rows: np.ndarray, size: int) -> list[Part]:
    starts = range(0, len(rows), size)
    return [
        Part(
            Table({UNNAMED: rows[start : start + size]}), (Segment("rows.npy", start, len(rows[start : start + size])),)
        )
        for start in starts
    ]


def test_every_row_is_answered_once_and_in_order(spread_out: spread.Spread) -> None:
    rows = np.arange(300.0, dtype=np.float32).reshape(-1, 3)
    found = list(predict_parts(spread_out, "affine", iter(parts(rows, 7)), None))
    tables = [answers for _, answers in found if isinstance(answers, AnswerTable)]
    assert len(tables) == 15
    assert AnswerTable.joined(tables).arrays()["y"].tolist() == (2 * rows + 1).tolist()


def test_an_error_names_the_row_among_all(spread_out: spread.Spread) -> None:
    good = Part([[1, 2, 3]] * 5, (Segment("good.json", 0, 5),))
    bad = Part([[1, 2, 3], [1, 2]], (Segment("bad.json", 0, 2),))
    with pytest.raises(InvalidInput, match=r"row 6 \(bad.json \[1\]\)"):
        list(predict_parts(spread_out, "affine", iter([good, bad]), None))


def test_the_nodes_need_only_the_bundle(spread_out: spread.Spread, models: Path, tmp_path: Path) -> None:
    spread_out.predict_part("affine", [[1, 2, 3]])
    assert [path.name for path in (tmp_path / "cache/bookserve/bundles").iterdir()] == [
        pack_bundle(models, "affine").key
    ]
    with pytest.raises(NotFound, match="no directory"):
        spread.Spread(Threads(), f"local:{models}/missing", "affine")

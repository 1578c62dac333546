"""How many servers, where, and which models are everywhere: decisions that need no machine."""

from __future__ import annotations

import pytest

from bookserve.errors import InvalidInput
from fleet import plan
from fleet.spec import Fleet, Server


def test_servers_are_spread_evenly_and_stay_where_they_are() -> None:
    assert plan.place(["a", "b", "c"], 4, {}) == {"a": 2, "b": 1, "c": 1}
    assert plan.place(["a", "b", "c"], 4, {"c": 2, "a": 1, "b": 1}) == {"a": 1, "b": 1, "c": 2}
    assert plan.place(["a", "b"], 1, {"b": 1, "gone": 1}) == {"a": 0, "b": 1}


def test_servers_keep_their_ports_and_take_none_that_is_used() -> None:
    running = [Server(8501, 1), Server(8505, 1)]
    assert plan.choose_servers(running, 3, 1, 8501) == [Server(8501, 1), Server(8503, 1), Server(8505, 1)]
    assert plan.choose_servers(running, 1, 1, 8501) == [Server(8501, 1)]
    # One of another release keeps its port until it has ended, and so does one that is ending.
    assert plan.choose_servers(running, 1, 2, 8501, taken=[8503]) == [Server(8507, 2)]


def test_load_adds_servers_at_once_and_calm_takes_them_one_by_one() -> None:
    busy, usual, calm = plan.Load(0.0, 0.95), plan.Load(0.01, 0.7), plan.Load(0.0, 0.1)
    assert plan.wanted_servers(busy, 4, 1, 8, calm=0) == 6
    assert plan.wanted_servers(plan.Load(1.0, 0.2), 4, 1, 8, calm=0) == 8
    assert plan.wanted_servers(usual, 4, 1, 8, calm=0) == 4
    assert not plan.is_calm(usual, 4)
    assert plan.is_calm(calm, 4)
    assert plan.wanted_servers(calm, 4, 1, 8, calm=plan.CALM_PERIODS - 1) == 4
    assert plan.wanted_servers(calm, 4, 1, 8, calm=plan.CALM_PERIODS) == 3
    assert plan.wanted_servers(calm, 2, 2, 8, calm=100) == 2
    assert plan.wanted_servers(busy, 4, 1, 4, calm=0) == 4


def test_hot_models_are_the_most_asked_and_do_not_change_for_little() -> None:
    requests = {"a": 100.0, "b": 90.0, "c": 80.0, "never": 0.0}
    assert plan.hot_models(requests, limit=2) == ["a", "b"]
    assert plan.hot_models(requests, hot=["c"], limit=2) == ["a", "c"]
    assert plan.hot_models({**requests, "b": 200.0}, hot=["a", "c"], limit=2) == ["a", "b"]
    assert plan.hot_models(requests, limit=10) == ["a", "b", "c"]


def test_bounds_that_contradict_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not between"):
        Fleet(models="m", servers=3, minimum=1, maximum=2)

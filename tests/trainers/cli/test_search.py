"""The search: trials are runs, a study can be continued, and the same seed draws the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bookserve.errors import InvalidInput
from bookserve.run import Run, find_run, list_runs
from tests.trainers.tiny_task import TINY
from trainers import training
from trainers.cli import search

PARAMS = {**TINY.defaults("sample"), "epochs": 2}
OVER = ("learning_rate=0.001:1:log", "batch_size=8,16,32")


def tried(runs: Path, trials: int, seed: int = 0, stop: int = 0) -> list[dict[str, Any]]:
    """The table of a search, which is interrupted in trial number ``stop`` (0: never)."""
    begun = 0

    def begin(params: dict[str, Any]) -> Run:
        nonlocal begun
        begun += 1
        if begun == stop:
            raise KeyboardInterrupt
        return training.start_training(TINY, "sample", params, seed=1, runs=runs, report=lambda line: None)

    study = search.open_study(TINY, runs)
    list(search.run_trials(TINY, study, PARAMS, search.parse_search_space(TINY, PARAMS, OVER), trials, seed, begin))
    return search.trials_table(study)


def test_trials_are_runs_and_the_best_is_the_best(tmp_path: Path) -> None:
    rows = tried(tmp_path, 4)
    assert len(rows) == 4
    figures = []
    for row in rows:
        run = find_run(tmp_path, row["run"])
        params = run.read("params.json")
        assert (params["learning_rate"], params["batch_size"]) == (row["learning_rate"], row["batch_size"])
        assert row["figure"] == run.metrics["val_loss"]  # not the test rows' loss, by which the task is compared
        figures.append(row["figure"])
    assert figures == sorted(figures)
    assert [row["best"] for row in rows] == ["best", "", "", ""]


def test_an_interrupted_search_goes_on_and_tries_the_same(tmp_path: Path) -> None:
    whole = tried(tmp_path / "whole", 3)
    with pytest.raises(KeyboardInterrupt):
        tried(tmp_path / "cut", 3, stop=2)
    resumed = tried(tmp_path / "cut", 3)
    chosen = [[(row["learning_rate"], row["batch_size"], row["figure"]) for row in rows] for rows in (whole, resumed)]
    assert chosen[0] == chosen[1]
    assert len(list(list_runs(tmp_path / "cut"))) == 3
    other = tried(tmp_path / "other", 3, seed=7)
    assert [row["learning_rate"] for row in other] != [row["learning_rate"] for row in whole]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("speed=1:2", "'speed' is not a parameter of 'tiny'"),
        ("learning_rate=0.1:0.01", "not a range for learning_rate"),
        ("learning_rate=0:1:log", "not a range for learning_rate"),
        ("batch_size=8:16:square", "not a range for batch_size"),
        ("batch_size=a,b", "batch_size must be a whole number"),
    ],
)
def test_invalid_ranges_are_errors(over: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        search.parse_search_space(TINY, PARAMS, [over])


def test_the_command_ends_with_a_table(tmp_path: Path) -> None:
    words = ["mnist_dense", "--data", "sample", "--trials", "2", "-p", "epochs=1", "--runs", str(tmp_path)]
    done = CliRunner().invoke(search.search, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "trial 2/2" in done.output
    assert "val_accuracy" in done.output
    again = CliRunner().invoke(search.search, [*words, "--json"], catch_exceptions=False)
    rows = json.loads(again.stdout)
    assert len(rows) == 2  # both are done: nothing is tried again
    assert {"learning_rate", "batch_size", "figure", "run"} <= rows[0].keys()
    assert find_run(tmp_path, rows[0]["run"]).read("params.json")["hold_out"] == 0.2

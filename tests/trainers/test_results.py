"""Recorded results are of finished runs on real data, have no private data, and fill a table in the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bookserve.errors import Failed, InvalidInput
from bookserve.run import Run
from trainers import catalogue, results


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run of mnist_convnet on real data, as far as recording reads it."""
    made = Run(tmp_path / "runs" / "mnist_convnet" / "2026-01-01T00-00-00Z")
    made.path.mkdir(parents=True)
    made.write("params.json", {"data": "real", "seed": 7, "epochs": 5})
    versions = {"python": "3.11", "keras": "3.15"}
    made.write(
        "environment.json",
        {"command": "bookserve train mnist_convnet", "cpu": "Chip", "cpus": 2, "platform": "x", "versions": versions},
    )
    figures = {"loss": 0.01, "test_accuracy": 0.99123456789, "epochs": 5, "seconds": 80.5, "parameters": 93_322}
    made.write("metrics.json", {**figures, "book": {"test_accuracy": 0.993}})
    return made


def test_a_run_is_recorded_beside_the_book(run: Run, tmp_path: Path) -> None:
    recorded = json.loads(results.record_result(run, tmp_path / "results").read_text())
    assert recorded["book"] == {"test_accuracy": 0.993}
    assert recorded["figures"]["test_accuracy"] == 0.991235
    assert (recorded["epochs"], recorded["seed"], recorded["machine"]) == (5, 7, "2 × Chip")
    assert str(tmp_path) not in json.dumps(recorded)
    (line,) = [line for line in results.results_table(tmp_path / "results").splitlines() if "mnist_convnet" in line]
    assert line == "| `mnist_convnet` | 5.1 | test_accuracy | 0.993 | 0.9912 | 5 | 80 |"


@pytest.mark.parametrize("spoil", ["sample", "unfinished"])
def test_only_finished_runs_on_real_data_count(run: Run, tmp_path: Path, spoil: str) -> None:
    if spoil == "sample":
        run.write("params.json", {**run.read("params.json"), "data": "sample"})
    else:
        (run.path / "metrics.json").unlink()
    with pytest.raises(InvalidInput, match="not a finished run on real data"):
        results.record_result(run, tmp_path / "results")


def test_the_best_run_is_a_real_one_where_there_is_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    task, runs = catalogue.find_task("mnist_convnet"), tmp_path / "runs"
    better = Run(runs / "mnist_convnet" / "2026-01-02T00-00-00Z")
    better.path.mkdir()
    better.write("params.json", {"data": "sample"})
    better.write("metrics.json", {"test_accuracy": 0.999})
    assert (results.best_result(task, runs) or {})["run"] == run.name
    better.write("params.json", {"data": "real"})
    assert (results.best_result(task, runs) or {})["run"] == better.name
    assert results.best_result(catalogue.find_task("mnist_vae"), runs) is None


def test_the_table_is_written_between_its_markers() -> None:
    readme = "# Title\n<!-- results -->\nold\n<!-- /results -->\nend\n"
    fresh = results.insert_table(readme, "| new |")
    assert fresh == "# Title\n<!-- results -->\n| new |\n<!-- /results -->\nend\n"
    assert results.insert_table(fresh, "| new |") == fresh
    with pytest.raises(Failed, match="no place"):
        results.insert_table("# Title\n", "| new |")

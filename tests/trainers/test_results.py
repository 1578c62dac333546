"""Recorded results are of finished runs on real data, have no private data, and fill tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
        {
            "command": "bookserve train mnist_convnet",
            "cpu": "Chip",
            "cpus": 2,
            "platform": "x",
            "versions": versions,
            "data_sha256": "abc",
        },
    )
    figures = {"loss": 0.01, "test_accuracy": 0.99123456789, "epochs": 5, "seconds": 80.5, "parameters": 93_322}
    made.write("metrics.json", {**figures, "book": {"test_accuracy": 0.993}})
    return made


def rerun(run: Run, seed: int, accuracy: float, command: str = "bookserve train mnist_convnet") -> Run:
    """Another run of the same task, of which only the seed, the accuracy and the command differ."""
    made = Run(run.path.parent / f"2026-02-01T00-00-0{seed}Z")
    made.path.mkdir(exist_ok=True)
    made.write("params.json", {**run.read("params.json"), "seed": seed})
    made.write("environment.json", {**run.read("environment.json"), "command": f"{command} --seed {seed}"})
    made.write("metrics.json", {**run.read("metrics.json"), "test_accuracy": accuracy})
    return made


def test_a_run_is_recorded_beside_the_book(run: Run, tmp_path: Path) -> None:
    recorded = json.loads(results.record_result(run, tmp_path / "results").read_text())
    assert recorded["book"] == {"test_accuracy": 0.993}
    (seed,) = recorded["seeds"]
    assert seed["figures"]["test_accuracy"] == 0.991235
    assert (seed["epochs"], seed["seed"], recorded["machine"]) == (5, 7, "2 × Chip")
    assert str(tmp_path) not in json.dumps(recorded)
    (figure,) = [one for one in results.load_figures(tmp_path / "results") if one.task.name == "mnist_convnet"]
    line = results.results_table([figure]).splitlines()[-1]
    assert line == "| `mnist_convnet` | 5.1 | test_accuracy | 0.993 | 0.9912 | one seed | real | cpu | 5 | 80 |"


def test_seeds_of_one_command_give_a_median_and_a_range(run: Run, tmp_path: Path) -> None:
    for seed, accuracy in ((1, 0.98), (0, 0.99), (2, 0.97), (2, 0.96)):  # a seed that was run again replaces the first
        results.record_result(rerun(run, seed, accuracy), tmp_path / "results")
    result = results.read_result("mnist_convnet", tmp_path / "results")
    assert result
    assert [seed.seed for seed in result.seeds] == [0, 1, 2]
    assert result.command.endswith("--seed 0")
    assert (result.median("test_accuracy"), result.values("test_accuracy")) == (0.98, [0.96, 0.98, 0.99])
    (figure,) = [one for one in results.load_figures(tmp_path / "results") if one.task.name == "mnist_convnet"]
    assert "| 0.98 | 0.96–0.99 (3 seeds) |" in results.results_table([figure])


def test_another_command_starts_the_file_anew_and_keeps_the_note(run: Run, tmp_path: Path) -> None:
    path = results.record_result(rerun(run, 0, 0.98), tmp_path / "results")
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": "Why it differs."}))
    results.record_result(rerun(run, 1, 0.99, "bookserve train mnist_convnet -p epochs=9"), tmp_path / "results")
    result = results.read_result("mnist_convnet", tmp_path / "results")
    assert result
    assert ([seed.seed for seed in result.seeds], result.note) == ([1], "Why it differs.")
    assert "- `mnist_convnet`: Why it differs." in results.results_page(tmp_path / "results")


def test_another_setting_has_a_file_of_its_own(run: Run, tmp_path: Path) -> None:
    results.record_result(run, tmp_path / "results")
    other = rerun(run, 1, 0.95, "bookserve train mnist_convnet -p epochs=1")
    path = results.record_result(other, tmp_path / "results", "one-epoch")
    assert path.name == "mnist_convnet.one-epoch.json"
    assert [one.result.median("test_accuracy") for one in results.labelled_figures(path.parent) if one.result] == [0.95]
    assert "| `mnist_convnet` one-epoch | 5.1 |" in results.results_page(path.parent)
    result = results.read_result("mnist_convnet", path.parent)
    assert result
    assert result.median("test_accuracy") == 0.991235


def test_a_generated_figure_stands_beside_the_shuffled_one(run: Run, tmp_path: Path) -> None:
    made = Run(tmp_path / "runs" / "siamese_lstm" / run.path.name)
    made.path.mkdir(parents=True)
    for name in ("params.json", "environment.json"):
        made.write(name, run.read(name))
    figures = {"test_accuracy": 0.95, "test_accuracy_shuffled_left": 0.7, "test_accuracy_shuffled_right": 0.6}
    made.write("metrics.json", {**run.read("metrics.json"), **figures, "baseline": 0.5})
    results.record_result(made, tmp_path / "results")
    line = "| `siamese_lstm` | test_accuracy | 0.95 | left: 0.7, right: 0.6 | 0.5 |"
    assert line in results.results_page(tmp_path / "results").splitlines()


def test_weather_stands_beside_common_sense_in_degrees(run: Run, tmp_path: Path) -> None:
    made = Run(tmp_path / "runs" / "jena_gru" / run.path.name)
    made.path.mkdir(parents=True)
    for name in ("params.json", "environment.json"):
        made.write(name, run.read(name))
    celsius = {"val_celsius": 2.246, "naive_val_celsius": 2.457, "test_celsius": 2.418, "naive_test_celsius": 2.601}
    made.write("metrics.json", {**run.read("metrics.json"), **celsius})
    results.record_result(made, tmp_path / "results", "2020")
    line = "| `jena_gru` 2020 | 2.25 | 2.46 | 2.42 | 2.60 | 5 |"
    assert line in results.results_page(tmp_path / "results").splitlines()


def test_every_dash_has_a_reason() -> None:
    dashes = {figure.task.name for figure in results.load_figures() if not figure.measured}
    assert dashes == set(results.UNMEASURED)


def test_a_run_that_does_not_say_its_data_is_refused(run: Run, tmp_path: Path) -> None:
    environment = run.read("environment.json")
    del environment["data_sha256"]
    run.write("environment.json", environment)
    with pytest.raises(InvalidInput, match="too old"):
        results.record_result(run, tmp_path / "results")


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


def test_the_plot_shows_what_is_recorded(run: Run, tmp_path: Path) -> None:
    results.record_result(run, tmp_path / "results")
    results.draw_plot(tmp_path / "plot.png", tmp_path / "results")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width > 500
        assert len(np.unique(np.asarray(plot.convert("RGB")).reshape(-1, 3), axis=0)) > 10

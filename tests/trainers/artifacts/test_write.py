"""A training leaves a complete run, whose SavedModel computes what Keras does, and which the commands list."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from bookserve.bundle.examples import Examples
from bookserve.generation.explain import ACTIVATIONS, HEAD
from bookserve.run import Run
from bookserve.verb import Predict
from tests.trainers import tasks
from trainers import catalogue
from trainers.cli import compare, listing


def test_a_run_is_complete(trained: Run) -> None:
    task = catalogue.find_task(trained.task)
    files = {path.name for path in trained.path.iterdir()}
    params, metrics = trained.read("params.json"), trained.metrics
    expected = {"task.json", "params.json", "metrics.json", "history.csv", "environment.json"}
    expected |= {"saved_model", "model.keras", "examples.npz"}
    if params["epochs"]:
        expected |= {"history.png", "tensorboard"}
        assert (trained.path / "history.png").read_bytes().startswith(b"\x89PNG")
        assert list(trained.path.glob("tensorboard/train/events*"))
    assert expected <= files
    assert "checkpoint" not in files
    assert metrics.pop("book") == task.book
    assert metrics["baseline"] > 0
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert {task.metric, "epochs", "seconds", "parameters"} <= metrics.keys()
    assert (params["data"], params["seed"]) == ("sample", 0)
    environment = trained.read("environment.json")
    assert environment["command"].startswith(f"bookserve train {task.name} --data sample --seed 0")
    assert {"python", "keras", "tensorflow", "numpy", "bookserve"} == environment["versions"].keys()
    with (trained.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == metrics["epochs"] == params["epochs"] <= 1
    assert all(float(row[name]) == metrics[name] for row in rows for name in row if name != "epoch")
    samples = {"generate": {"samples.txt"}, "sample": {"samples.png"}, "transform": {"samples.png"}}.get(
        task.verb, set()
    )
    assert {name for name in files if name.startswith("samples")} == samples


def test_the_recipe_names_what_the_exporter_needs(trained: Run) -> None:
    recipe = trained.recipe
    assert recipe.origin.task == trained.task
    assert recipe.origin.data == "sample"
    assert recipe.origin.dataset
    signatures = tf.saved_model.load(str(trained.path / "saved_model")).signatures
    assert set(signatures) == {*recipe.graphs, "serving_default"}
    for name, graph in recipe.graphs.items():
        inputs = signatures[name].structured_input_signature[1]
        outputs = signatures[name].structured_outputs
        assert inputs.keys() == graph.inputs.keys()
        assert outputs.keys() == graph.outputs.keys()
        for key, spec in [*graph.inputs.items(), *graph.outputs.items()]:
            tensor = inputs.get(key) if key in inputs else outputs[key]
            assert [size or -1 for size in tensor.shape] == spec.sizes()
            assert tensor.dtype.name == spec.dtype


def test_the_saved_model_gives_what_keras_gave(trained: Run) -> None:
    examples = Examples.load(trained.path / "examples.npz")
    recipe = trained.recipe
    signatures = tf.saved_model.load(str(trained.path / "saved_model")).signatures
    assert examples.graphs.keys() == recipe.graphs.keys()
    for name, example in examples.graphs.items():
        rows = recipe.graphs[name].check(example.inputs)
        assert rows == 1 if name in (ACTIVATIONS, HEAD) else 8 <= rows <= 16
        outputs = signatures[name](**{key: tf.constant(array) for key, array in example.inputs.items()})
        for key, expected in example.outputs.items():
            assert np.ptp(expected) > 0 or rows == 1  # a layer of a network trained so shortly may be dead
            np.testing.assert_allclose(outputs[key], expected, rtol=1e-4, atol=1e-5)
    verb = recipe.verb
    if isinstance(verb, Predict) and len(verb.inputs) == 1:
        assert 8 <= len(examples.rows) <= 16
        for name, array in verb.encode(examples.rows).items():
            assert np.array_equal(array, examples.graphs["serving_default"].inputs[name])
        answers = verb.decode(examples.graphs["serving_default"].outputs)
        assert len(answers) == len(examples.rows)


def test_keras_loads_its_own_file(trained: Run) -> None:
    task = catalogue.find_task(trained.task)
    model = keras.models.load_model(trained.path / "model.keras", custom_objects=task.custom and task.custom())
    assert model.count_params() == trained.metrics["parameters"]


def test_files_hold_neither_paths_nor_host_names(trained: Run) -> None:
    for name in ("task.json", "params.json", "metrics.json", "environment.json"):
        assert str(trained.path.parent.parent) not in (trained.path / name).read_text()
        json.loads((trained.path / name).read_text())


def test_the_four_temperatures_are_shown(finished: Callable[[str], Run]) -> None:
    text = (finished("nietzsche_lstm").path / "samples.txt").read_text()
    assert [line for line in text.splitlines() if line.startswith("---")] == [
        f"--- temperature {temperature}" for temperature in (0.2, 0.5, 1.0, 1.2)
    ]
    assert len(text) > 4 * 460


@pytest.mark.parametrize("side", ["width", "height"])
def test_the_grid_is_fifteen_digits_wide_and_high(finished: Callable[[str], Run], side: str) -> None:
    from PIL import Image

    with Image.open(finished("mnist_vae").path / "samples.png") as picture:
        assert getattr(picture, side) == 15 * 28


@pytest.fixture(scope="module")
def runs(finished: Callable[[str], Run]) -> Path:
    """A directory with a finished run of each task of ``tasks.SOME``."""
    paths = [finished(name).path for name in tasks.SOME]
    return paths[0].parent.parent


COMMANDS = {"tasks": listing.tasks, "runs": listing.runs, "compare": compare.compare}


def output(command: str, *words: str) -> str:
    done = CliRunner().invoke(COMMANDS[command], words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_tasks_lists_the_book_and_our_best(runs: Path) -> None:
    listed = json.loads(output("tasks", "--runs", str(runs), "--json"))
    by_name = {task["name"]: task for task in listed}
    convnet = by_name["mnist_convnet"]
    assert (convnet["section"], convnet["verb"], convnet["dataset"]) == ("5.1", "predict", "mnist")
    assert convnet["book"] == {"test_accuracy": 0.993}
    assert all(by_name[name]["best"] for name in tasks.SOME)
    table = output("tasks", "--runs", str(runs))
    assert all(name in table for name in by_name)
    assert "test_accuracy 0.993" in table


def test_runs_and_compare_name_what_differs(runs: Path) -> None:
    listed = json.loads(output("runs", "--runs", str(runs), "--json"))
    assert {run["state"] for run in listed} == {"finished"}
    assert {run["data"] for run in listed} == {"sample"}
    assert all(run["figures"] for run in listed)
    assert listed[0]["name"] in output("runs", "--runs", str(runs))
    compared = json.loads(output("compare", "mnist_convnet", "mnist_vae", "--runs", str(runs), "--json"))
    assert compared["values"]["parameters"] == [93_322, 550_629]
    assert compared["values"]["divergence_weight"][0] is None
    lines = output("compare", "mnist_convnet", "mnist_vae", "--runs", str(runs)).splitlines()
    assert lines[0].startswith("A  mnist_convnet/") and "trained on sample data" in lines[0]
    assert any(line.startswith("divergence_weight") for line in lines)
    assert not any(line.startswith("seed ") for line in lines)  # it is the same in both
    assert next(line for line in lines if line.startswith("parameters")).split()[1:3] == ["93322", "550629"]
    assert "They are runs of different tasks: their figures cannot be compared." in lines

"""One process, several replicas and several workers give the same losses, also after a kill and a resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bookserve.errors import InvalidInput
from bookserve.run import Run
from tests.trainers.commands import figures, killed_after_an_epoch, trained, weights
from tests.trainers.tiny_task import TINY
from trainers.engine import cluster, devices

#: 600 rows in batches of 64: the last batch of an epoch has 24, and of three replicas one has fewer rows than others.
DENSE = ("mnist_dense", "--data", "sample", "--epochs", "8", "-p", "batch_size=64", "--device", "cpu")

TWO = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained in one process, on one device."""
    return trained(tmp_path_factory.mktemp("one"), *DENSE)


def test_environment_json_names_the_devices(one: Run) -> None:
    environment = one.read("environment.json")
    assert environment["backend"] == "tensorflow"
    assert (environment["devices"], environment["precision"]) == (["cpu"], "float32")
    assert (environment["strategy"], environment["replicas"], environment["deterministic"]) == (None, 1, False)
    assert "-p device=cpu" in environment["command"]


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ({"workers": 2}, "", "workers need --distribute"),
        ({"distribute": "multiworker"}, '{"cluster": {}}', "TF_CONFIG cannot be used: KeyError 'task'"),
        (
            {"distribute": "multiworker"},
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "TF_",
        ),
        ({"distribute": "multiworker", "workers": 3}, json.dumps(TWO), "names 2 workers, but --workers is 3"),
        ({"distribute": "mirrored", "device": "cpu"}, "", "mirrored needs 2 devices.*--device cpu --workers 2"),
    ],
)
def test_contradicting_settings_are_errors(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], config: str, said: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InvalidInput, match=said):
        devices.open_devices({**TINY.defaults("sample"), **given})


@pytest.mark.parametrize("kind", ["mirrored", "multiworker"])
def test_replicas_give_the_losses_of_one(one: Run, tmp_path: Path, kind: str) -> None:
    """Shares of different sizes give the same result too: the rows and their order are the same."""
    count = 3 if kind == "mirrored" else 2
    run = trained(tmp_path, *DENSE, "--distribute", kind, "--workers", str(count))
    assert figures(run).keys() == figures(one).keys()
    for name, value in figures(one).items():
        assert run.metrics[name] == pytest.approx(value, rel=1e-4), name
    for ours, theirs in zip(weights(run), weights(one), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    environment = run.read("environment.json")
    assert environment["replicas"] == count
    assert environment["strategy"] == {"mirrored": "MirroredStrategy"}.get(kind, "CollectiveAllReduceStrategy")
    assert set(tf.saved_model.load(str(run.path / "saved_model")).signatures) == {"serving_default"}


def test_a_killed_training_ends_like_an_uninterrupted_one(one: Run, tmp_path: Path) -> None:
    """SIGKILL in the middle of an epoch leaves no time to clean up."""
    killed = killed_after_an_epoch(tmp_path, *DENSE)
    resumed = trained(tmp_path, "mnist_dense", "--resume")
    assert resumed.path == killed.path
    assert figures(resumed) == figures(one)
    assert (resumed.path / "history.csv").read_text() == (one.path / "history.csv").read_text()


def test_a_killed_training_of_two_workers_is_continued(one: Run, tmp_path: Path) -> None:
    killed = killed_after_an_epoch(tmp_path, *DENSE, "--distribute", "multiworker", "--workers", "2")
    resumed = trained(tmp_path, "mnist_dense", "--resume")
    assert resumed.path == killed.path
    assert resumed.read("environment.json")["replicas"] == 2
    assert resumed.metrics["epochs"] == 8
    for name, value in figures(one).items():
        assert resumed.metrics[name] == pytest.approx(value, rel=1e-4), name


def test_a_worker_that_dies_ends_the_training(tmp_path: Path) -> None:
    """If the second worker exits, the first one must not wait for it for ever."""
    code = "import os, sys, time\nsys.exit(7) if '\"index\": 1' in os.environ['TF_CONFIG'] else time.sleep(600)\n"
    (tmp_path / "bookserve.py").write_text(code)
    script = (
        "from trainers.engine import cluster\n"
        "import os\n"
        f"os.environ['PYTHONPATH'] = {str(tmp_path)!r}; os.chdir({str(tmp_path)!r})\n"  # workers run its bookserve.py
        "cluster._GRACE_SECONDS = 0.5\n"
        "cluster.start_workers(['train'], 2)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "the workers ended with [-15, 7]" in done.stderr


@pytest.mark.parametrize(
    ("config", "index", "count"),
    [
        (TWO, 1, 2),
        ({"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}, 2, 3),
        ({"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}, 0, 2),
    ],
)
def test_tf_config_says_which_worker_this_is(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], index: int, count: int
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    place = cluster.this_worker()
    assert (place.index, place.count, place.chief) == (index, count, index == 0)


def test_workers_on_one_machine_share_its_gpus() -> None:
    gpus = ["gpu:0", "gpu:1", "gpu:2"]
    assert cluster.WorkerPlace(("h:1", "h:2"), 0).own_devices(gpus) == ["gpu:0", "gpu:2"]
    assert cluster.WorkerPlace(("h:1", "h:2"), 1).own_devices(gpus) == ["gpu:1"]
    assert cluster.WorkerPlace(("h:1", "i:1"), 1).own_devices(gpus) == gpus
    with pytest.raises(InvalidInput, match="4 workers cannot share gpu:0"):
        cluster.WorkerPlace(("h:1", "h:2", "h:3", "h:4"), 3).own_devices(gpus)

"""Work that is spread over the nodes of a Ray cluster: a node dies, and nothing is lost, doubled or out of order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bookserve.run import list_runs
from tests import bundles
from tests.serve.deploy.cluster import Cluster, command_line, until
from tests.serve.deploy.namespaces import Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROWS = 3_000_000


def works(node: Machine, function: str) -> bool:
    """Whether a task of this function runs on a machine: Ray names its processes so."""
    return any(command_line(pid).startswith(f"ray::{function}".encode()) for pid in node.pids())


def test_rows_are_predicted_once_and_in_order_though_a_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    models = bundles.write_all(tmp_path / "models")
    rows = np.arange(3.0 * ROWS, dtype=np.float32).reshape(-1, 3) % 65536
    np.save(tmp_path / "rows.npy", rows)
    out = tmp_path / "out.npy"
    command = ("predict", "affine", str(tmp_path / "rows.npy"), "-o", str(out), "--url", f"local:{models}")
    with subprocess.Popen(cluster.bookserve(*command, "--distribute", "ray"), env=cluster.environment) as driver:
        last = cluster.nodes[-1]
        until(lambda: works(last, "predict_here") or driver.poll() is not None)
        last.kill()
        assert driver.poll() is None, "it had ended before the node died"
        assert driver.wait(600) == 0
    cluster.heal()
    found = np.load(out)
    assert found.shape == rows.shape
    assert np.array_equal(found, 2 * rows + 1)


def test_tasks_are_trained_once_though_a_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    tasks = ("boston_housing", "reuters_dense", "imdb_dense", "mnist_dense")
    cluster.heal()
    short = ("--data", "sample", "--epochs", "1", "--runs", str(tmp_path / "runs"))
    with subprocess.Popen(
        cluster.bookserve("train", *tasks, *short, "--distribute", "ray"),
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        last = cluster.nodes[-1]
        until(lambda: works(last, "run_command") or driver.poll() is not None)
        last.kill()
        assert driver.poll() is None, "it had ended before the node died"
        said, _ = driver.communicate(timeout=1200)
        assert driver.returncode == 0, said
    cluster.heal()
    sys.stderr.write(said)
    runs = list(list_runs(tmp_path / "runs"))
    assert sorted(run.task for run in runs) == sorted(tasks)
    assert all(run.finished and run.has_saved_model for run in runs)

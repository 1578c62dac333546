"""One short training of every task on sample data, shared by all tests of the trainers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from bookserve import run
from bookserve.run import Run
from tests.trainers import tasks
from trainers import catalogue
from trainers.cli.train import train

#: What makes one epoch of each task take a second or two: a few batches, and a small network where tests need no more.
STEPS = ("-p", "steps_per_epoch=4")
SHORT = {
    **{f"jena_{kind}": ("-p", "lookback_hours=24") for kind in ("gru", "gru_dropout", "gru_stacked", "bigru")},
    "nietzsche_lstm": ("-p", "step=30"),
    "residual_block": ("-p", "filters=8"),
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Returns the finished run of a task, trained at the first call; tests must not write to it."""
    path = tmp_path_factory.mktemp("runs")

    def find(name: str) -> Run:
        if not (path / name).exists():
            words = [name, "--data", "sample", "--epochs", "1", "-p", "jit_compile=false", *STEPS, "--runs", str(path)]
            done = CliRunner().invoke(train, [*words, *SHORT.get(name, ())], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            assert ("epoch 1/1" in done.output) == bool(catalogue.find_task(name).defaults("sample")["epochs"])
            assert "(sample)" in done.output
        return run.latest_run(path, name)

    return find


@pytest.fixture(params=tasks.ALL)
def trained(request: pytest.FixtureRequest, finished: Callable[[str], Run]) -> Run:
    """The finished run of each task in turn."""
    return finished(request.param)

"""Fixtures of the exporter's tests: Runs of small Keras models, and the bundles made of them, once a session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bookserve.bundle import Bundle
from bookserve.cli.terminal import silence_stderr
from bookserve.run import Run


@pytest.fixture(scope="session")
def tensorflow():
    """TensorFlow on the CPU, imported once."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence_stderr():
        import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def runs(tensorflow, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished Run of each kind, by task; read them, never write to them."""
    from tests.export.runs import write_all

    return write_all(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def bundles(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The bundles exported from ``runs``, by task; read them, never write to them."""
    from export.sources.source import Source
    from export.write import write_bundle

    models = tmp_path_factory.mktemp("exported")
    return {
        task: write_bundle(Source(task, run.path / "saved_model", run), models).bundle for task, run in runs.items()
    }


@pytest.fixture
def bookserve(
    tensorflow, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run one command line in this process: exit code, standard output, standard error."""
    from bookserve.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bookserve", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as error:
            code = error.code
        said = capfd.readouterr()
        return int(code or 0), said.out, said.err

    return run


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty directory for bundles."""
    return tmp_path / "models"

"""A runtime that somebody adds, in one file outside bookserve: its models are served like any others."""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path

import httpx
import numpy as np
import pytest

from bookserve.runtime import register_runtime, registry
from serve.engine import Engine
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from tests.servers import start

TOY = '''
"""Runs model.npz: y = x · weights."""

import numpy as np

from bookserve.errors import Failed
from bookserve.runtime import TensorDeclaration


class ToySession:
    def __init__(self, weights):
        self.weights = weights

    def declared(self):
        rows, columns = self.weights.shape
        return {"x": TensorDeclaration("float32", (None, rows))}, {"y": TensorDeclaration("float32", (None, columns))}

    def run(self, feeds):
        return {"y": feeds["x"] @ self.weights}


class ToyRuntime:
    name = "toy"
    model_file = "model.npz"
    devices = ("cpu",)

    def opens(self, path):
        return path.suffix == ".npz"

    def open_sessions(self, path, graphs=None, *, device="cpu", threads=1):
        try:
            weights = np.load(path)["weights"]
        except (OSError, ValueError, KeyError) as error:
            raise Failed(f"{path} holds no weights.") from error
        return dict.fromkeys(graphs or ["serving_default"], ToySession(weights))
'''
WEIGHTS = np.array([[1, 0, 2], [0, 1, 3]], np.float32)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A directory with that one file, and the models beside it."""
    (tmp_path / "toy_runtime.py").write_text(TOY)
    (tmp_path / "models/net/1").mkdir(parents=True)
    np.savez(tmp_path / "models/net/1/model.npz", weights=WEIGHTS)
    return tmp_path


def test_a_registered_runtime_serves_its_models(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])
    monkeypatch.syspath_prepend(toy)
    register_runtime(importlib.import_module("toy_runtime").ToyRuntime())
    repository = Repository(toy / "models", Metrics())
    repository.load()
    engine = Engine(repository, Metrics())
    assert engine.model("net").bundle.graph()[1].batched
    answers = asyncio.run(engine.predict(engine.model("net"), [[1, 2], [3, 4]]))
    assert [answer["y"].tolist() for answer in answers] == [[1, 2, 8], [3, 4, 18]]  # type: ignore[union-attr]


@pytest.mark.slow
def test_an_installed_runtime_is_found_by_the_server(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``dist-info`` is what pip writes when it installs a package with that entry point."""
    installed = toy / "toy_runtime-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-runtime\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[bookserve.runtimes]\ntoy = toy_runtime:ToyRuntime\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(toy), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with start(toy / "models") as server, httpx.Client(base_url=server.http) as http:
        answer = http.post("/v1/models/net:predict", json={"instances": [[1, 2], [3, 4]]})
    assert answer.json() == {"predictions": [[1, 2, 8], [3, 4, 18]]}

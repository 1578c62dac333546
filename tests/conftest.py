"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookserve.client import Client, connect
from tests import bundles
from tests.servers import Server, start

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before any test imports TensorFlow: its greetings are not ours


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tiny bundles of ``tests/bundles.py``; read it, never write to it."""
    return bundles.write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    with start(models) as running:
        yield running


@pytest.fixture(params=["local", "http", "grpc"])
def url(request: pytest.FixtureRequest, models: Path) -> str:
    """Address of the tiny bundles, over each wire in turn."""
    if request.param == "local":
        return f"local:{models}"
    return str(getattr(request.getfixturevalue("server"), request.param))


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with connect(url) as connected:
        yield connected


@pytest.fixture
def local(models: Path) -> Iterator[Client]:
    with connect(f"local:{models}") as connected:
        yield connected

"""A server for this room's tests, and the three addresses at which the same models are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import Client, connect
from tests.servers import Server, start


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

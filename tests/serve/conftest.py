"""Servers for the tests of serve/, and clients that know nothing of bookserve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.serve.in_process import application_client
from tests.servers import GRPC_SERVERS, Server, start


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """The tiny bundles, served, with grpcio's gRPC; tests may do anything to it but stop it."""
    with start(models, "--grpc-server", "grpcio", "--version-policy", "on-demand") as running:
        yield running


@pytest.fixture(scope="session")
def application_http(models: Path) -> Iterator[httpx.Client]:
    """The tiny bundles, served by the HTTP application in this process."""
    with application_client(models) as client:
        yield client


@pytest.fixture
def server_http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(params=["application", pytest.param("server", marks=pytest.mark.slow)])
def http(request: pytest.FixtureRequest) -> httpx.Client:
    """The application in this process, then a server, whose fast path answers the common requests."""
    client: httpx.Client = request.getfixturevalue(f"{request.param}_http")
    return client


@pytest.fixture(scope="session")
def builtin(models: Path) -> Iterator[Server]:
    """The same with the builtin gRPC server."""
    with start(models, "--grpc-server", "builtin", "--version-policy", "on-demand") as running:
        yield running


@pytest.fixture(params=GRPC_SERVERS)
def any_server(request: pytest.FixtureRequest) -> Server:
    """Each of the two, one after the other."""
    found: Server = request.getfixturevalue("builtin" if request.param == "builtin" else "server")
    return found


@pytest.fixture
def channel(any_server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(any_server.grpc_target, [("grpc.enable_http_proxy", 0)]) as opened:
        yield opened


@pytest.fixture
def beside(any_server: Server) -> Iterator[httpx.Client]:
    """HTTP of the server that ``channel`` asks."""
    with httpx.Client(base_url=any_server.http, trust_env=False, timeout=60) as client:
        yield client

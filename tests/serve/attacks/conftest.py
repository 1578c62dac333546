"""A server with small limits, and clients that see it answer after each attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.servers import GRPC_SERVERS, Server, start

#: Seconds that the server of these tests waits for a request to arrive.
PATIENCE = 2


@pytest.fixture(scope="package", params=GRPC_SERVERS)
def narrow(request: pytest.FixtureRequest, models: Path) -> Iterator[Server]:
    """A server with small limits; it must live to the end of these tests."""
    options = "--max-body 1 --max-inflated 1 --max-head 8 --max-depth 8 --max-elements 1000 --max-streams 4"
    options += f" --grpc-server {request.param}"
    with start(models, *options.split(), "--read-timeout", str(PATIENCE)) as running:
        yield running
        assert running.process.poll() is None


@pytest.fixture
def client(narrow: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=narrow.http, trust_env=False, timeout=60) as opened:
        yield opened
        reply = opened.post("/v1/models/affine:predict", content=b'{"instances": [[0, 1, 2]]}')
        assert reply.json() == {"predictions": [[1, 3, 5]]}


@pytest.fixture
def calls(narrow: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(narrow.grpc_target, [("grpc.enable_http_proxy", 0)]) as opened:
        yield opened

"""A Ray cluster on network namespaces, for all tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.serve.deploy.cluster import PYTHON, Cluster
from tests.serve.deploy.namespaces import machines


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Ray on a head without CPUs and on three nodes. Tests that end parts of it start them again."""
    yield from _cluster(tmp_path_factory.mktemp("cluster"), redis=False)


@pytest.fixture
def cluster_with_redis(tmp_path: Path) -> Iterator[Cluster]:
    """The same, of a test's own; Redis keeps what Ray's head knows."""
    yield from _cluster(tmp_path, redis=True)


def _cluster(directory: Path, redis: bool) -> Iterator[Cluster]:
    if not os.environ.get("BOOKSERVE_TEST_DEPLOY"):
        pytest.skip("make test-deploy runs this")
    assert PYTHON, "BOOKSERVE_RAY_PYTHON must name a Python with bookserve[ray]"
    assert os.geteuid() == 0, "network namespaces need root"
    with machines(4) as (center, (head, *nodes)), ExitStack() as stack:
        made = Cluster(center, head, nodes, directory, redis)
        stack.callback(made.clean)
        if redis:
            made.start_redis()
        made.start_head()
        made.heal()
        yield made

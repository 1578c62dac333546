"""A Ray cluster on network namespaces, and images in containers, for all tests that need one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import bundles
from tests.serve.deploy.cluster import PYTHON, Cluster
from tests.serve.deploy.containers import BUILT, IMAGE, Podman
from tests.serve.deploy.namespaces import machines
from tests.serve.deploy.tools import DEPLOY, run


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


@pytest.fixture(scope="session")
def image() -> dict[str, Any]:
    """The serving image's configuration; it is built anew, unless the environment names one."""
    if not os.environ.get("BOOKSERVE_TEST_DEPLOY"):
        pytest.skip("make test-deploy runs this")
    if not BUILT:
        run(str(DEPLOY / "build.sh"), timeout=1700)
    found: dict[str, Any] = json.loads(run("podman", "image", "inspect", IMAGE))[0]
    return found


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    """Podman on a machine of the test's own."""
    if not os.environ.get("BOOKSERVE_TEST_DEPLOY"):
        pytest.skip("make test-deploy runs this")
    with machines(1) as (_, (machine,)):
        yield Podman(machine, tmp_path)


@pytest.fixture
def public_models(tmp_path: Path) -> Path:
    """Models that a container's user may read."""
    models = bundles.write_all(tmp_path / "models")
    for path in (tmp_path, *tmp_path.parents[:2], *models.rglob("*"), models):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return models

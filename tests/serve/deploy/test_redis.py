"""A head whose records Redis keeps: a new one finds the same agents. Losing Redis stops nothing that serves."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import bundles
from tests.serve.deploy.cluster import RAY, Cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def agents(cluster: Cluster) -> dict[str, int]:
    """Process ids of the agents, by host."""
    return {
        node.host: pid
        for node in cluster.nodes
        for pid in node.pids()
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Agent")
    }


def test_a_new_head_finds_the_same_agents_and_servers(cluster_with_redis: Cluster, tmp_path: Path) -> None:
    cluster = cluster_with_redis
    models = bundles.write_all(tmp_path / "models")
    for path in models.iterdir():
        if path.name not in ("affine", "pair"):
            shutil.rmtree(path)
    cluster.up(models, "--servers", "3")
    servers = {node.host: cluster.pids(node) for node in cluster.nodes}
    before = agents(cluster)
    assert len(before) == 3
    with ExitStack() as stack:
        stack.callback(cluster.center.kill, ["redis-server"])
        cluster.head.kill(RAY)
        assert all(map(cluster.is_ready, cluster.nodes))
        cluster.start_head()
        until(lambda: cluster.servers().keys() == servers.keys())
        assert agents(cluster) == before
        cluster.center.kill(["redis-server"])
        time.sleep(5)
    assert all(map(cluster.is_ready, cluster.nodes))
    assert {node.host: cluster.pids(node) for node in cluster.nodes} == servers

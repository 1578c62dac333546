"""A fleet on machines that are network namespaces: whatever dies, no prediction fails behind HAProxy.

It needs root, ``ip``, HAProxy and Ray: ``make test-deploy`` brings them. The figures of each fault are printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bookserve.cli.programs import home
from tests import bundles
from tests.serve.deploy.namespaces import Machine, ip, machines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

#: A Python with bookserve[ray].
PYTHON = os.environ.get("BOOKSERVE_RAY_PYTHON", "")
RAY_PORT = 6379
RAY = ("ray::", "raylet", "gcs_server", "site-packages/ray/")


class Cluster:
    """Ray on one head and three nodes, a fleet, and HAProxy with a load on it."""

    def __init__(self, center: Machine, head: Machine, nodes: list[Machine], directory: Path, models: Path) -> None:
        self.center, self.head, self.nodes = center, head, nodes
        self.directory, self.models = directory, models
        self.state = directory / "state"
        self.state.mkdir()
        self.sessions = 0
        self.file = str(directory / "fleet.json")
        self.environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "PATH": f"{Path(PYTHON).parent}:{os.environ.get('PATH', '')}:/usr/sbin",
        }

    def start_head(self) -> None:
        self.sessions += 1
        self.head.run(
            *self._ray("--head", f"--port={RAY_PORT}", "--num-cpus=0", *self._temporary()), env=self.environment
        )

    def start_node(self, node: Machine) -> None:
        """Ray on a machine, where the fleet's directory is the machine's own."""
        own = self.directory / node.name
        own.mkdir(exist_ok=True)
        start = self._ray(f"--address={self.head.host}:{RAY_PORT}", "--num-cpus=1", host=node.host)
        node.run("sh", "-c", f'mount --bind {own} {self.state} && exec "$@"', "sh", *start, env=self.environment)

    def _temporary(self) -> list[str]:
        # Short: Ray makes sockets in it, whose paths have a limit.
        path = f"/tmp/bsray{os.getpid()}-{self.sessions}"
        return [f"--temp-dir={path}", "--include-dashboard=false"]

    def _ray(self, *arguments: str, host: str = "") -> list[str]:
        start = [str(Path(PYTHON).with_name("ray")), "start", "--disable-usage-stats", "--object-store-memory=80000000"]
        return [*start, f"--node-ip-address={host or self.head.host}", *arguments]

    def fleet(self, *arguments: str, timeout: float = 600) -> str:
        """Run a command of ``bookserve fleet`` on the head's machine."""
        command = [PYTHON, "-m", "bookserve", "fleet", *arguments, "--fleet", self.file]
        return self.head.run(*command, timeout=timeout, env=self.environment)

    def up(self) -> None:
        self.fleet(
            *("up", "--models", str(self.models), "--servers", "3", "--ray", f"{self.head.host}:{RAY_PORT}"),
            *("--state", str(self.state), "--option=--lazy", "--ready-timeout", "500"),
        )

    def servers(self) -> dict[str, dict[str, Any]]:
        """The servers' states, by host; of a host with two, the newer one."""
        found = json.loads(self.fleet("status", "--json"))
        return {host: states[-1] for host, states in found.items() if states}

    def clean(self) -> None:
        for number in range(1, self.sessions + 1):
            shutil.rmtree(f"/tmp/bsray{os.getpid()}-{number}", ignore_errors=True)


class Load:
    """``tests.serve.deploy.load`` on the machine with the proxy."""

    def __init__(self, cluster: Cluster) -> None:
        body, answer = json.dumps({"instances": [[1, 2, 3]]}), json.dumps({"predictions": [[3.0, 5.0, 7.0]]})
        arguments = ("127.0.0.1", "8080", "4", "/v1/models/affine:predict", body, answer)
        command = cluster.center.command(sys.executable, "-m", "tests.serve.deploy.load", *arguments)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home())

    def check(self, fault: str, count: int = 200) -> None:
        """No request has failed since the last check, and so many more are answered after it is asked for."""
        first = self._read()
        found, failures = first["count"], first["failures"]
        longest, p99 = first["longest"], first["p99"]
        for _ in range(120):
            time.sleep(0.5)
            more = self._read()
            found += more["count"]
            failures += more["failures"]
            longest = max(longest, more["longest"])
            count -= more["count"]
            if count <= 0:
                break
        sys.stderr.write(
            f"\n{fault}: {found} requests, {len(failures)} failed, 99 % within {p99 * 1e3:.0f} ms, "
            f"the longest {longest * 1e3:.0f} ms"
        )
        assert failures == [], f"{fault}: {failures[:5]}"
        assert count <= 0, f"{fault}: requests are not answered any more"

    def _read(self) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def until(true: Callable[[], bool]) -> None:
    """Wait up to three minutes for a condition: machines that share few cores are slow."""
    end = time.monotonic() + 180
    while not true():
        assert time.monotonic() < end, "the condition was not met within three minutes"
        time.sleep(0.2)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(30)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if not os.environ.get("BOOKSERVE_TEST_DEPLOY"):
        pytest.skip("make test-deploy runs this")
    assert PYTHON, "BOOKSERVE_RAY_PYTHON must name a Python with bookserve[ray]"
    assert os.geteuid() == 0, "network namespaces need root"
    models = bundles.write_all(tmp_path / "models")
    with machines(4) as (center, (head, *nodes)), ExitStack() as stack:
        made = Cluster(center, head, nodes, tmp_path, models)
        stack.callback(made.clean)
        made.start_head()
        for node in nodes:
            made.start_node(node)
        yield made


def test_whatever_dies_no_prediction_fails(cluster: Cluster) -> None:
    cluster.up()
    assert {state["state"] for state in cluster.servers().values()} == {"ready"}
    config = cluster.directory / "haproxy/haproxy.cfg"
    socket = cluster.directory / "haproxy/socket"
    balance = [PYTHON, "-m", "bookserve", "fleet", "balance", "--fleet", cluster.file, "--config", str(config)]
    with ExitStack() as stack:
        command = cluster.head.command(*balance, "--socket", str(socket), "--slots", "8")
        stack.callback(end, subprocess.Popen(command, env=cluster.environment))
        until(config.exists)
        haproxy = subprocess.Popen(cluster.center.command("haproxy", "-db", "-f", str(config)), env=cluster.environment)
        stack.callback(end, haproxy)
        until(socket.exists)
        load = Load(cluster)
        stack.callback(load.end)
        one, two, three = cluster.nodes
        load.check("no fault")

        before = cluster.servers()
        os.kill(before[one.host]["pid"], 9)
        until(lambda: cluster.servers()[one.host]["state"] == "ready")
        assert cluster.servers()[one.host]["pid"] != before[one.host]["pid"]
        load.check("a server was killed")

        two.kill(["ray::Agent"])
        until(lambda: two.host in cluster.servers())
        assert cluster.servers()[two.host]["pid"] == before[two.host]["pid"]
        assert cluster.servers()[two.host]["starts"] == 0
        load.check("an actor was killed, and adopted its server")

        ip("-n", cluster.center.name, "link", "set", one.link, "down")
        time.sleep(4)
        ip("-n", cluster.center.name, "link", "set", one.link, "up")
        time.sleep(2)
        load.check("a link was cut for 4 s")

        three.kill()
        load.check("a machine died")

        cluster.head.kill(RAY)
        load.check("the head died")
        for node in (one, two):
            node.kill(RAY)
        load.check("Ray died everywhere")
        cluster.start_head()
        for node in cluster.nodes:
            cluster.start_node(node)
        living = {host: state["pid"] for host, state in before.items() if host == two.host}
        cluster.up()
        after = cluster.servers()
        assert {host: after[host]["pid"] for host in living} == living
        assert after[two.host]["starts"] == 0
        load.check("a new head adopted what lives, and the dead machine came back")

        said = cluster.fleet("roll", str(shutil.copytree(cluster.models, cluster.directory / "new")), "--canary", "2")
        assert "canary" in said
        assert {state["release"] for state in cluster.servers().values()} == {2}
        load.check("rolled to new models")

        before = cluster.servers()
        broken = shutil.copytree(cluster.models, cluster.directory / "broken")
        (broken / "affine/1/model.onnx").write_bytes(b"damaged")
        with pytest.raises(AssertionError, match="affine"):
            cluster.fleet("roll", str(broken))
        assert {host: state["pid"] for host, state in cluster.servers().items()} == {
            host: state["pid"] for host, state in before.items()
        }
        load.check("damaged models were refused")
    cluster.fleet("down")
    assert cluster.servers() == {}

"""A fleet on machines that are network namespaces: how requests are spread, how it grows, and what dies without loss.

It needs root, ``ip``, HAProxy and Ray: ``make test-deploy`` brings them. The figures are printed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bookserve.cli.programs import home
from tests import bundles
from tests.serve.deploy.cluster import RAY, Cluster, end, until
from tests.serve.deploy.namespaces import Machine, ip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

#: Small models beside the usual ones, and how many each server holds in memory.
MANY, LOADED = 240, 100


def say(line: str) -> None:
    sys.stderr.write(f"\n{line}")


@pytest.fixture(scope="session")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = bundles.write_all(tmp_path_factory.mktemp("fleet") / "models")
    bundles.write_costly(models)
    for number in range(MANY):
        shutil.copytree(models / "affine", models / f"m{number:04}", copy_function=os.link)
    return models


@pytest.fixture(scope="module")
def fleet(cluster: Cluster, own_models: Path) -> Iterator[Cluster]:
    """Three servers behind HAProxy; between one and three with a load."""
    options = ("--servers", "3", "--min", "1", "--max", "3", "--option=--lazy", f"--option=--max-loaded={LOADED}")
    cluster.up(own_models, *options)
    with cluster.balanced():
        until(lambda: all(map(cluster.is_ready, cluster.nodes)))
        yield cluster
    cluster.fleet("down")
    assert [pid for node in cluster.nodes for pid in cluster.pids(node)] == []


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
        say(
            f"{fault}: {found} requests, {len(failures)} failed, 99 % within {p99 * 1e3:.0f} ms, "
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


def call(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """What ``tests.serve.deploy.callers`` prints, run on the machine with the proxy."""
    command = cluster.center.command(sys.executable, "-m", "tests.serve.deploy.callers", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, cwd=home(), check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def counted(cluster: Cluster, node: Machine, name: str, **labels: str) -> float:
    """A sum of samples in a server's own ``/metrics``."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(cluster.metrics(node))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_grpc_calls_of_one_connection_are_spread_evenly(fleet: Cluster) -> None:
    def counts() -> list[float]:
        named = {"model": "affine", "protocol": "v2/grpc", "code": "ok"}
        return [counted(fleet, node, "bookserve_requests_total", **named) for node in fleet.nodes]

    before = counts()
    assert call(fleet, "grpc", "127.0.0.1:8090", "3000") == {"right": 3000}
    got = [after - old for after, old in zip(counts(), before, strict=True)]
    say(f"3000 calls over one connection, by server: {got}")
    assert sum(got) == 3000
    assert max(got) <= 1100
    assert min(got) >= 900


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "grpc://127.0.0.1:8090"])
def test_a_stream_that_is_cut_ends_in_an_error(fleet: Cluster, url: str) -> None:
    command = fleet.center.command(sys.executable, "-m", "tests.serve.deploy.callers", "stream", url)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home()) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "begun\n"
        pids = [pid for node in fleet.nodes for pid in fleet.pids(node)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)
        out, _ = reader.communicate("\n", timeout=120)
    met = json.loads(out)
    say(f"{url}: {met}")
    assert met["characters"] < 100_000
    assert met["error"]
    until(lambda: all(map(fleet.is_ready, fleet.nodes)))


def test_models_are_in_memory_where_they_are_asked(fleet: Cluster) -> None:
    """Each server holds less than half of the models; by hash and with the hot ones everywhere nearly all are there."""

    def counts(result: str) -> float:
        named = "bookserve_model_cache_requests_total"
        return sum(counted(fleet, node, named, result=result) for node in fleet.nodes)

    assert call(fleet, "zipf", "127.0.0.1:8080", "4000", str(MANY), "1") == {"right": 4000}
    hot = fleet.directory / "haproxy/hot.map"
    until(lambda: len(hot.read_text().splitlines()) == 10)
    before = counts("hit"), counts("miss")
    assert call(fleet, "zipf", "127.0.0.1:8080", "8000", str(MANY), "2") == {"right": 8000}
    hits, misses = counts("hit") - before[0], counts("miss") - before[1]
    assert hits + misses == 8000
    say(f"8000 requests to {MANY} models, {LOADED} in each of 3 memories: {hits / 8000:.2%} hits")
    assert hits >= 0.99 * 8000
    assert "_other" not in hot.read_text()


def test_load_adds_servers_within_bounds_and_calm_takes_them(fleet: Cluster) -> None:
    def servers() -> int:
        return sum(len(json.loads((fleet.own(node) / "wanted.json").read_bytes())) for node in fleet.nodes)

    def fewer() -> bool:
        seen.append(servers())
        return seen[-1] == 1

    def more() -> bool:
        seen.append(servers())
        return seen[-1] == 3

    seen: list[int] = []
    with ExitStack() as stack:
        watch = fleet.bookserve("fleet", "watch", "--fleet", fleet.file, "--autoscale", "1.5", "--period", "0.5")
        stack.callback(end, subprocess.Popen(watch, env=fleet.environment, stdout=subprocess.DEVNULL))
        until(fewer)
        # A request that costs the server far more than the client.
        body, answer = json.dumps({"instances": [[1, 2, 3]]}), json.dumps({"predictions": [[3.0, 5.0, 7.0]]})
        arguments = ("127.0.0.1", "8080", "12", "/v1/models/costly:predict", body, answer)
        loading = fleet.center.command(sys.executable, "-m", "tests.serve.deploy.load", *arguments)
        load = subprocess.Popen(loading, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=home())
        stack.callback(end, load)
        until(more)
        load.terminate()
        until(fewer)
    say(f"servers, as the load came and went: {[n for n, last in zip(seen, [0, *seen], strict=False) if n != last]}")
    assert set(seen) <= {1, 2, 3}
    fleet.fleet("scale", "3")
    until(lambda: all(map(fleet.is_ready, fleet.nodes)))


def test_whatever_dies_no_prediction_fails(fleet: Cluster, own_models: Path) -> None:
    one, two, three = fleet.nodes
    with ExitStack() as stack:
        load = Load(fleet)
        stack.callback(end, load.process)
        load.check("no fault")
        before = {node.host: fleet.pids(node)[0] for node in fleet.nodes}

        os.kill(before[one.host], signal.SIGKILL)
        until(lambda: fleet.pids(one) not in ([], [before[one.host]]) and fleet.is_ready(one))
        load.check("a server was killed")

        two.kill(["ray::Agent"])
        until(lambda: two.host in fleet.servers())
        assert fleet.servers()[two.host]["pid"] == before[two.host]
        assert fleet.servers()[two.host]["starts"] == 0
        load.check("an actor was killed, and adopted its server")

        ip("-n", fleet.center.name, "link", "set", one.link, "down")
        time.sleep(4)
        ip("-n", fleet.center.name, "link", "set", one.link, "up")
        time.sleep(2)
        load.check("a link was cut for 4 s")

        three.kill()
        load.check("a machine died")
        fleet.heal()
        fleet.up(own_models, "--servers", "3", "--option=--lazy", f"--option=--max-loaded={LOADED}")
        load.check("the machine came back")

        said = fleet.fleet("roll", str(shutil.copytree(own_models, fleet.directory / "new")), "--canary", "2")
        assert "canary" in said
        assert {state["release"] for state in fleet.servers().values()} == {2}
        load.check("rolled to new models")

        served = {host: state["pid"] for host, state in fleet.servers().items()}
        broken = shutil.copytree(own_models, fleet.directory / "broken")
        (broken / "affine/1/model.onnx").write_bytes(b"damaged")
        with pytest.raises(AssertionError, match="affine"):
            fleet.fleet("roll", str(broken))
        assert {host: state["pid"] for host, state in fleet.servers().items()} == served
        load.check("damaged models were refused")


def test_a_fleet_serves_without_a_head_and_a_new_one_adopts_it(fleet: Cluster) -> None:
    known = json.loads(Path(fleet.file).read_bytes())
    with ExitStack() as stack:
        load = Load(fleet)
        stack.callback(end, load.process)
        before = {node.host: fleet.pids(node) for node in fleet.nodes}
        fleet.head.kill(RAY)
        time.sleep(120)
        load.check("120 s without a head")
        for node in fleet.nodes:
            node.kill(RAY)
        load.check("Ray died everywhere")
        assert {node.host: fleet.pids(node) for node in fleet.nodes} == before
        fleet.start_head()
        fleet.heal()
        fleet.up(Path(known["models"]), "--servers", "3", "--option=--lazy", f"--option=--max-loaded={LOADED}")
        after = fleet.servers()
        assert {host: [state["pid"]] for host, state in after.items()} == before
        assert {state["starts"] for state in after.values()} == {0}
        load.check("a new head adopted every server")

"""Ray on machines that are network namespaces, a fleet on it, and HAProxy in front."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.serve.deploy.namespaces import Machine
from tests.serve.deploy.tools import program

#: A Python with bookserve[ray].
PYTHON = os.environ.get("BOOKSERVE_RAY_PYTHON", "")
REDIS_PORT = 6380
RAY = ("ray::", "raylet", "gcs_server", "site-packages/ray/")


class Cluster:
    """A head, three nodes, and a machine for the proxy, where Redis keeps Ray's records if asked for."""

    def __init__(self, center: Machine, head: Machine, nodes: list[Machine], directory: Path, redis: bool) -> None:
        self.center, self.head, self.nodes = center, head, nodes
        self.directory = directory
        self.state = directory / "state"
        self.state.mkdir()
        self.sessions = 0
        self.file = str(directory / "fleet.json")
        # Ray takes a head of another namespace at the same address for its own.
        self.port = 6390 if redis else 6379
        self.environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # else each process decides by whether the user has a token
            "RAY_worker_niceness": "0",
            "RAY_ADDRESS": f"{head.host}:{self.port}",
            "XDG_CACHE_HOME": str(directory / "cache"),
            "PATH": f"{Path(PYTHON).parent}:{os.environ.get('PATH', '')}:/usr/sbin",
        }
        if redis:
            self.environment["RAY_REDIS_ADDRESS"] = f"{center.host}:{REDIS_PORT}"

    def start_redis(self) -> None:
        options = ("--bind", self.center.host, "--port", str(REDIS_PORT), "--protected-mode", "no", "--save", "")
        self.center.run(program("redis-server"), *options, "--daemonize", "yes", "--dir", str(self.directory))

    def start_head(self) -> None:
        self.sessions += 1
        own = ("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false")
        # Short: Ray makes sockets in it, whose paths have a limit.
        own = (*own, f"--temp-dir={self._temporary(self.sessions)}")
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        self.head.run(*self._ray(*own, host=self.head.host), env=environment)

    def start_node(self, node: Machine) -> None:
        """Ray on a machine, where the fleet's directory is the machine's own."""
        own = self.own(node)
        own.mkdir(exist_ok=True)
        start = self._ray(f"--address={self.head.host}:{self.port}", "--num-cpus=1", host=node.host)
        node.run("sh", "-c", f'mount --bind {own} {self.state} && exec "$@"', "sh", *start, env=self.environment)

    def heal(self) -> None:
        """Start Ray on the machines that have lost it."""
        for node in self.nodes:
            if not any(b"raylet" in command_line(pid) for pid in node.pids()):
                self.start_node(node)

    def own(self, node: Machine) -> Path:
        """The fleet's directory of a machine."""
        return self.directory / node.name

    def _temporary(self, session: int) -> str:
        return f"/tmp/bsray{os.getpid()}-{self.port}-{session}"

    def _ray(self, *arguments: str, host: str) -> list[str]:
        start = [str(Path(PYTHON).with_name("ray")), "start", "--disable-usage-stats", "--object-store-memory=80000000"]
        return [*start, f"--node-ip-address={host}", *arguments]

    def bookserve(self, *arguments: str) -> list[str]:
        """A command of bookserve on the head's machine."""
        return self.head.command(PYTHON, "-m", "bookserve", *arguments)

    def fleet(self, *arguments: str, timeout: float = 600) -> str:
        """Run a command of ``bookserve fleet`` on the head's machine."""
        command = [PYTHON, "-m", "bookserve", "fleet", *arguments, "--fleet", self.file]
        return self.head.run(*command, timeout=timeout, env=self.environment)

    def up(self, models: Path, *arguments: str) -> None:
        where = ("--models", str(models), "--ray", f"{self.head.host}:{self.port}", "--state", str(self.state))
        self.fleet("up", *where, "--ready-timeout", "500", *arguments)

    def servers(self) -> dict[str, dict[str, Any]]:
        """The servers' states as the agents tell them, by host; of a host with two, the newer one."""
        found = json.loads(self.fleet("status", "--json"))
        return {host: states[-1] for host, states in found.items() if states}

    def pids(self, node: Machine) -> list[int]:
        """The servers of a machine that live, by the records of its agent: this needs no Ray."""
        records = [json.loads(path.read_bytes()) for path in sorted((self.own(node) / "servers").glob("*.json"))]
        return [record["pid"] for record in records if Path(f"/proc/{record['pid']}").exists()]

    def is_ready(self, node: Machine, port: int = 8501) -> bool:
        command = self.center.command("curl", "-sf", "--max-time", "5", f"http://{node.host}:{port}/readyz")
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def metrics(self, node: Machine, port: int = 8501) -> str:
        return self.center.run("curl", "-sf", "--max-time", "20", f"http://{node.host}:{port}/metrics")

    @contextmanager
    def balanced(self, *options: str) -> Iterator[None]:
        """``fleet balance`` and HAProxy, on 8080 and 8090 of the machine for the proxy."""
        config, socket = self.directory / "haproxy/haproxy.cfg", self.directory / "haproxy/socket"
        shutil.rmtree(config.parent, ignore_errors=True)
        command = ("fleet", "balance", "--fleet", self.file, "--config", str(config), "--socket", str(socket))
        with ExitStack() as stack:
            balance = self.bookserve(*command, "--slots", "8", *options)
            stack.callback(end, subprocess.Popen(balance, env=self.environment))
            until(config.exists)
            haproxy = self.center.command(program("haproxy"), "-db", "-f", str(config))
            stack.callback(end, subprocess.Popen(haproxy, env=self.environment, stderr=subprocess.DEVNULL))
            until(socket.exists)
            yield

    def clean(self) -> None:
        for number in range(1, self.sessions + 1):
            shutil.rmtree(self._temporary(number), ignore_errors=True)


def command_line(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def until(true: Callable[[], bool]) -> None:
    """Wait up to three minutes for a condition: machines that share few cores are slow."""
    limit = time.monotonic() + 180
    while not true():
        assert time.monotonic() < limit, "the condition was not met within three minutes"
        time.sleep(0.2)


def end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(30)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # what was not read by the process is lost
                pipe.close()

"""Run an image by podman with runc in a network namespace, and ask the server in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.serve.deploy.namespaces import Machine
from tests.serve.deploy.tools import program

#: An image that is built already, instead of a new one.
BUILT = os.environ.get("BOOKSERVE_TEST_IMAGE", "")
IMAGE = BUILT or "localhost/bookserve:serving"
#: How the serving image is run: no rights, and no place to write. Podman would start a health check's timer by systemd.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck")


class Podman:
    """Podman whose containers share the network namespace of a machine.

    Limits are given that any sandbox may set: podman's own are higher than those of some.
    """

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine = machine
        config = directory / "containers.conf"
        config.write_text(
            '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        self.environment = {**os.environ, "CONTAINERS_CONF": str(config)}

    def __call__(self, *arguments: str | Path) -> str:
        """Run podman to its end; returns what it prints."""
        # Not `ip netns exec`, which hides the control groups.
        command = [program("nsenter"), f"--net=/run/netns/{self.machine.name}", program("podman"), *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def ask(self, path: str, body: object = None) -> Any:
        """What the server answers that shares the machine's network."""
        data = ["-d", json.dumps(body)] if body is not None else []
        return json.loads(self.machine.run("curl", "-sS", "--max-time", "20", *data, f"http://127.0.0.1:8501{path}"))

    def is_ready(self) -> bool:
        """Whether that server is ready."""
        command = self.machine.command("curl", "-sf", "--max-time", "2", "http://127.0.0.1:8501/readyz")
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

"""The systemd unit: what systemd's own analysis says of it, and a real systemd that runs it in a container."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.deploy.containers import IMAGE, Podman
from tests.serve.deploy.tools import DEPLOY, program, run
from tests.serve.processes import until

UNIT = DEPLOY / "bookserve.service"
SYSTEMD = "localhost/bookserve-test-systemd"


@pytest.mark.slow
def test_the_unit_is_hardened() -> None:
    command = [program("systemd-analyze"), "security", "--offline=true", "--threshold=15", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.fixture
def systemd_image(image: dict[str, Any], public_models: Path, tmp_path: Path) -> Iterator[str]:
    """Debian with systemd, the serving image's bookserve, the unit and models, as the unit's comment says."""
    context = tmp_path / "context"
    context.mkdir()
    packages = "--include=python3,libstdc++6,systemd,dbus"
    run("mmdebstrap", "--quiet", "--variant=essential", packages, "bookworm", context / "base.tar")
    shutil.copytree(public_models, context / "models")
    shutil.copy(UNIT, context)
    (context / "Dockerfile").write_text(
        "FROM scratch\nADD base.tar /\n"
        f"COPY --from={IMAGE} /opt/bookserve /opt/bookserve\n"
        "COPY models /srv/models\nCOPY bookserve.service /etc/systemd/system/\n"
        "RUN touch /etc/bookserve.toml && systemctl enable bookserve\n"
        'CMD ["/lib/systemd/systemd"]\nSTOPSIGNAL SIGRTMIN+3\n'
    )
    run("buildah", "build", "--isolation=chroot", "--format", "docker", "--tag", SYSTEMD, context)
    yield SYSTEMD
    run("buildah", "rmi", SYSTEMD)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_systemd_starts_the_unit_and_starts_it_again(systemd_image: str, podman: Podman) -> None:
    name = f"bookserve-{os.getpid()}"
    podman("run", "--detach", "--name", name, "--privileged", "--systemd=always", systemd_image)

    def main_pid() -> str:
        return podman("exec", name, "systemctl", "show", "--property=MainPID", "--value", "bookserve").strip()

    def answers() -> bool:
        body, answer = {"instances": [[1, 2, 3]]}, {"predictions": [[3.0, 5.0, 7.0]]}
        return podman.is_ready() and podman.ask("/v1/models/affine:predict", body) == answer

    try:
        until(answers)
        first = main_pid()
        podman("exec", name, "systemctl", "kill", "--signal=KILL", "bookserve")
        until(lambda: main_pid() not in ("0", first) and answers())
        user = podman("exec", name, "stat", "--format=%U", f"/proc/{main_pid()}").strip()
        assert user != "root"
        podman("exec", name, "systemctl", "stop", "bookserve")
        said = podman("exec", name, "journalctl", "--no-pager", "--unit=bookserve")
        assert "INFO stopped" in said
        assert "cpuinfo" not in said  # ONNX Runtime found out which instructions the processor has
        assert "Deactivated successfully" in said
    finally:
        podman("rm", "--force", "--time", "5", name)

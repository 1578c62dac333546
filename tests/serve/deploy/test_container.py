"""The serving image: built by deploy/build.sh, run by podman with runc in a network namespace, and asked.

It needs root and Debian's mmdebstrap, buildah, podman and runc: ``make test-deploy`` brings them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import bundles
from tests.serve.deploy.namespaces import Machine, machines
from tests.serve.deploy.tools import DEPLOY, program, run
from tests.serve.processes import until

#: Bytes that the serving image may have.
LIMIT = 350_000_000
BODY, ANSWER = {"instances": [[1, 2, 3]]}, {"predictions": [[3.0, 5.0, 7.0]]}
#: An image that is built already, instead of a new one.
BUILT = os.environ.get("BOOKSERVE_TEST_IMAGE", "")
#: Whether the training image is built, too: several gigabytes.
TRAINING = bool(os.environ.get("BOOKSERVE_TEST_TRAINING"))
IMAGE = BUILT or "localhost/bookserve:serving"


def test_what_the_build_copies_is_not_ignored() -> None:
    allowed = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().split() if line.startswith("!")}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for path in source.split():
            assert {path, path.partition("/")[0]} & allowed, path
            assert (DEPLOY.parent / path).exists(), path


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    """The serving image's configuration; it is built anew, unless the environment names one."""
    if not os.environ.get("BOOKSERVE_TEST_DEPLOY"):
        pytest.skip("make test-deploy runs this")
    if not BUILT:
        run(str(DEPLOY / "build.sh"), timeout=1700)
    found: dict[str, Any] = json.loads(run("podman", "image", "inspect", IMAGE))[0]
    return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    with machines(1) as (_, (one,)):
        yield one


@pytest.fixture
def public_models(tmp_path: Path) -> Path:
    """Models that the image's user may read."""
    models = bundles.write_all(tmp_path / "models")
    for path in (tmp_path, *tmp_path.parents[:2], *models.rglob("*"), models):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return models


@pytest.fixture
def podman(tmp_path: Path) -> Callable[..., str]:
    """Podman with runc in a network namespace; its containers share the namespace.

    Limits are given that any sandbox may set: podman's own are higher than those of some.
    """
    config = tmp_path / "containers.conf"
    config.write_text(
        '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    environment = {**os.environ, "CONTAINERS_CONF": str(config)}

    def run_in(machine: Machine, *arguments: str) -> str:
        # Not `ip netns exec`, which hides the control groups.
        command = ["nsenter", f"--net=/run/netns/{machine.name}", program("podman"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    return run_in


def ask(machine: Machine, path: str, body: object = None) -> Any:
    """What the server answers that shares this machine's network."""
    data = ["-d", json.dumps(body)] if body is not None else []
    return json.loads(machine.run("curl", "-sS", "--max-time", "20", *data, f"http://127.0.0.1:8501{path}"))


def is_ready(machine: Machine) -> bool:
    command = machine.command("curl", "-sf", "--max-time", "2", "http://127.0.0.1:8501/readyz")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_hadolint_finds_no_fault() -> None:
    run("hadolint", DEPLOY / "Dockerfile")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_is_small_and_says_what_it_is(image: dict[str, Any]) -> None:
    assert image["Size"] < LIMIT, f"{image['Size'] / 1e6:.0f} MB"
    config = image["Config"]
    assert config["User"] == "1001"
    assert image["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"] != "unknown"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_serves_without_rights(
    image: dict[str, Any], podman: Callable[..., str], machine: Machine, public_models: Path
) -> None:
    # Podman would start a health check's timer by systemd; the check is run below.
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck")
    name = f"bookserve-{os.getpid()}"
    podman(
        *(machine, "run", "--detach", "--name", name, *hardened),
        *("--volume", f"{public_models}:/models:ro", IMAGE),
    )
    try:
        until(lambda: is_ready(machine))
        assert ask(machine, "/v1/models/affine:predict", {"instances": [[1, 2, 3]]}) == {
            "predictions": [[3.0, 5.0, 7.0]]
        }
        absent = "import importlib.util as u; print([m for m in ('tensorflow', 'scipy', 'pip') if u.find_spec(m)])"
        assert podman(machine, "exec", name, "python", "-c", absent).strip() == "[]"
        assert podman(machine, "exec", name, "id", "-u").strip() == "1001"
        listed = json.loads(podman(machine, "exec", name, "cat", "/opt/bookserve/sbom.cdx.json"))
        assert {"bookserve", "onnxruntime", "numpy"} <= {one["name"] for one in listed["components"]}
        podman(machine, "exec", name, *image["Healthcheck"]["Test"][1:])
    finally:
        podman(machine, "rm", "--force", "--time", "20", name)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not TRAINING, reason="needs 6 GB of disk: BOOKSERVE_TEST_TRAINING=1 make test-deploy")
def test_the_training_image_trains(podman: Callable[..., str], machine: Machine, tmp_path: Path) -> None:
    run(str(DEPLOY / "build.sh"), "training", "bookserve:training", "--build-arg", "GPU=", timeout=3000)
    work = tmp_path / "work"
    work.mkdir()
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    os.chown(work, 1001, 1001)
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--rm")
    train = ("train", "boston_housing", "--data", "sample", "--epochs", "1")
    said = podman(machine, "run", *hardened, "--volume", f"{work}:/work", "localhost/bookserve:training", *train)
    assert "1 epochs" in said
    (saved,) = work.glob("runs/boston_housing/*/saved_model/saved_model.pb")
    assert saved.stat().st_uid == 1001


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_pod_of_the_chart_serves(
    image: dict[str, Any], podman: Callable[..., str], machine: Machine, public_models: Path, tmp_path: Path
) -> None:
    chosen = {
        "models.hostPath": public_models,
        "image.repository": "localhost/bookserve",
        "image.pullPolicy": "Never",
        "autoscaling.enabled": "false",
        "replicas": 1,
    }
    options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    only = ("--show-only", "templates/deployment.yaml")
    path = tmp_path / "pod.yaml"
    path.write_text(run("helm", "template", "bookserve", DEPLOY / "helm/bookserve", *options, *only))
    try:
        podman(machine, "play", "kube", str(path))
        until(lambda: is_ready(machine))
        assert ask(machine, "/v2/models/affine")["name"] == "affine"
        assert ask(machine, "/v1/models/affine:predict", {"instances": [[1, 2, 3]]}) == {
            "predictions": [[3.0, 5.0, 7.0]]
        }
    finally:
        podman(machine, "play", "kube", "--down", str(path))

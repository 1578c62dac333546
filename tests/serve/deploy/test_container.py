"""The serving image: built by deploy/build.sh, run by podman with runc in a network namespace, and asked.

It needs root and Debian's mmdebstrap, buildah, podman and runc: ``make test-deploy`` brings them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.serve.deploy.containers import HARDENED, IMAGE, Podman
from tests.serve.deploy.tools import DEPLOY, run
from tests.serve.processes import until

#: Bytes that the serving image may have.
LIMIT = 350_000_000
BODY, ANSWER = {"instances": [[1, 2, 3]]}, {"predictions": [[3.0, 5.0, 7.0]]}
#: The other two images are built only on request.
large = pytest.mark.skipif(
    not os.environ.get("BOOKSERVE_TEST_LARGE_IMAGES"),
    reason="needs 12 GB of disk: BOOKSERVE_TEST_LARGE_IMAGES=1 make test-deploy",
)


def test_what_the_build_copies_is_not_ignored() -> None:
    allowed = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().split() if line.startswith("!")}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for path in source.split():
            assert {path, path.partition("/")[0]} & allowed, path
            assert (DEPLOY.parent / path).exists(), path


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
def test_the_image_serves_without_rights(image: dict[str, Any], podman: Podman, public_models: Path) -> None:
    name = f"bookserve-{os.getpid()}"
    podman("run", "--detach", "--name", name, *HARDENED, "--volume", f"{public_models}:/models:ro", IMAGE)
    try:
        until(podman.is_ready)
        assert podman.ask("/v1/models/affine:predict", BODY) == ANSWER
        absent = "import importlib.util as u; print([m for m in ('tensorflow', 'scipy', 'pip') if u.find_spec(m)])"
        assert podman("exec", name, "python", "-c", absent).strip() == "[]"
        assert podman("exec", name, "id", "-u").strip() == "1001"
        listed = json.loads(podman("exec", name, "cat", "/opt/bookserve/sbom.cdx.json"))
        assert {"bookserve", "onnxruntime", "numpy"} <= {one["name"] for one in listed["components"]}
        podman("exec", name, *image["Healthcheck"]["Test"][1:])
    finally:
        podman("rm", "--force", "--time", "20", name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_serves_as_a_user_that_the_image_does_not_know(
    image: dict[str, Any], podman: Podman, public_models: Path
) -> None:
    # As OpenShift runs it: a number without a name, whose home is /, where it cannot write.
    name = f"bookserve-{os.getpid()}"
    podman(
        *("run", "--detach", "--name", name, *HARDENED, "--user", "1000650000:0"),
        *("--volume", f"{public_models}:/models:ro", IMAGE),
    )
    try:
        until(podman.is_ready)
        assert podman.ask("/v1/models/affine:predict", BODY) == ANSWER
    finally:
        podman("rm", "--force", "--time", "20", name)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@large
def test_the_training_image_trains(podman: Podman, tmp_path: Path) -> None:
    run(str(DEPLOY / "build.sh"), "training", "bookserve:training", "--build-arg", "GPU=", timeout=3000)
    work = tmp_path / "work"
    work.mkdir()
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    os.chown(work, 1001, 1001)
    train = ("train", "boston_housing", "--data", "sample", "--epochs", "1")
    said = podman("run", "--rm", *HARDENED, "--volume", f"{work}:/work", "localhost/bookserve:training", *train)
    assert "1 epochs" in said
    (saved,) = work.glob("runs/boston_housing/*/saved_model/saved_model.pb")
    assert saved.stat().st_uid == 1001


@pytest.mark.slow
@pytest.mark.timeout(3600)
@large
def test_the_cuda_image_has_cuda_and_serves_without_a_gpu(podman: Podman, public_models: Path) -> None:
    run(str(DEPLOY / "build.sh"), "cuda", "bookserve:cuda", timeout=3000)
    name = f"bookserve-{os.getpid()}"
    cuda = "localhost/bookserve:cuda"
    podman("run", "--detach", "--name", name, *HARDENED, "--volume", f"{public_models}:/models:ro", cuda)
    try:
        until(podman.is_ready)
        assert podman.ask("/v1/models/affine:predict", BODY) == ANSWER
        providers = "import onnxruntime; print(onnxruntime.get_available_providers())"
        assert "CUDAExecutionProvider" in podman("exec", name, "python", "-c", providers)
        # cuDNN and cuBLAS load without a driver; that of the host brings the rest.
        load = "import onnxruntime, ctypes; onnxruntime.preload_dlls(); ctypes.CDLL('libcudnn.so.9')"
        podman("exec", name, "python", "-c", load)
    finally:
        podman("rm", "--force", "--time", "20", name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_pod_of_the_chart_serves(
    image: dict[str, Any], podman: Podman, public_models: Path, tmp_path: Path
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
        podman("play", "kube", path)
        until(podman.is_ready)
        assert podman.ask("/v2/models/affine")["name"] == "affine"
        assert podman.ask("/v1/models/affine:predict", BODY) == ANSWER
    finally:
        podman("play", "kube", "--down", path)

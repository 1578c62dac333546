"""The Helm chart, the manifests that are rendered from it, and KServe's: valid for three versions of Kubernetes."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from serve.protocols.tfserving.files.models_config import read_models_config
from tests.serve import processes
from tests.serve.deploy.tools import DEPLOY, program, run

CHART = DEPLOY / "helm/bookserve"
MANIFESTS = DEPLOY / "kubernetes"
VERSIONS = ("1.25", "1.30", "1.35")
MODELS = ("--set", "models.claim=models")

#: Values, as their path and what is set there, that the chart must refuse.
MISTAKES: list[tuple[str, Any]] = [
    ("models.claim", ""),  # no models at all
    ("models.pull", "s3://bucket/models"),  # two sources of models
    ("models.claims", "models"),
    ("replicas", 0),
    ("replica", 2),
    ("ports.http", 80),  # not for who is not root
    ("ports.http", "8501"),
    ("image.pullPolicy", "always"),
    ("options", "--poll 5"),
    ("options", ["--host=127.0.0.1"]),  # no other pod could connect
    ("autoscaling.cpu", 0),
    ("autoscaling.queueSeconds", "20ms"),
    ("resources.request", {"cpu": "1"}),
    ("serviceMonitor.interval", "15"),
]


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    found["models"]["claim"] = "models"
    return found


def check(given: dict[str, Any]) -> None:
    jsonschema.validate(given, json.loads((CHART / "values.schema.json").read_text()))


def test_the_schema_takes_the_values() -> None:
    check(values())


@pytest.mark.parametrize(("path", "value"), MISTAKES, ids=[f"{path}={value}" for path, value in MISTAKES])
def test_the_schema_refuses_mistakes(path: str, value: Any) -> None:
    given = copy.deepcopy(values())
    *parents, last = path.split(".")
    place = given
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        check(given)


def test_every_file_is_yaml() -> None:
    files = [*DEPLOY.glob("*.yaml"), *DEPLOY.glob("*/*.yaml"), *CHART.glob("*.yaml")]
    assert len(files) > 8
    for path in files:
        assert list(yaml.safe_load_all(path.read_text())), path


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


@pytest.mark.slow
def test_the_serving_runtime_serves_what_kserve_mounts(models: Path) -> None:
    """KServe puts one model's directory at /mnt/models, and its own probe asks the Open Inference Protocol."""
    (container,) = documents("kserve.yaml")[0]["spec"]["containers"]
    given = {"/mnt/models": str(models / "affine"), "{{.Name}}": "affine"}
    arguments = [argument for argument in container["args"] if "port" not in argument]
    for name, value in given.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    command = [*processes.COMMAND[:-1], *arguments, *processes.FREE, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = processes.read(process)["http"].replace("0.0.0.0", "127.0.0.1")
            with httpx.Client(base_url=url, trust_env=False) as http:
                assert http.get(container["readinessProbe"]["httpGet"]["path"]).status_code == 200
                assert http.get("/v2/models/affine/ready").status_code == 200
                inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]
                answer = http.post("/v2/models/affine/infer", json={"inputs": inputs}).json()
            assert answer["outputs"][0]["data"] == [3, 5, 7]
        finally:
            process.terminate()


def test_tensorflow_serving_gets_a_list_of_models_that_can_be_read(tmp_path: Path) -> None:
    config, *_ = documents("other-servers.yaml")
    path = tmp_path / "models.config"
    path.write_text(config["data"]["models.config"])
    (model,) = read_models_config(path)
    assert (model.name, str(model.path)) == ("mnist_convnet", "/models/mnist_convnet")


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_of_other_servers_are_valid(version: str) -> None:
    run("kubernetes-validate", "-k", version, "--strict", MANIFESTS / "other-servers.yaml")


def render(*arguments: str) -> str:
    return run("helm", "template", "bookserve", str(CHART), *arguments)


@pytest.mark.slow
def test_helm_finds_no_fault() -> None:
    run("helm", "lint", "--strict", CHART, *MODELS)
    refused = subprocess.run(
        [program("helm"), "template", "b", str(CHART)], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "/models" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        MODELS,
        ("--set", "models.pull=s3://bucket/models", "--set", "apiKeySecret=keys", "--set", "replicas=1"),
        ("--set", "models.hostPath=/srv/models", "--set", "autoscaling.enabled=false"),
        (*MODELS, "--set", "autoscaling.queueSeconds=20m", "--set", "podAnnotations.a=b"),
    ],
    ids=["claim", "pull", "hostPath", "queue"],
)
def test_what_is_rendered_is_valid(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(render(*arguments))
    for version in VERSIONS:
        run("kubernetes-validate", "-k", version, "--strict", path)


@pytest.mark.slow
def test_the_manifests_are_rendered_from_the_chart() -> None:
    """After a change: ``helm template bookserve deploy/helm/bookserve --set models.claim=models``, written there."""
    assert render(*MODELS) == (MANIFESTS / "bookserve.yaml").read_text()

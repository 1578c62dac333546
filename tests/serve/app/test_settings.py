"""What a server is told by flag, environment variable or TOML file, and what it is told wrongly."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.serve.processes import COMMAND, FREE, read, refused, started, wait_for
from tests.servers import start

pytestmark = pytest.mark.slow  # starts servers


def with_environment(*arguments: str, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **variables},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(models: Path, tmp_path: Path) -> None:
    """Each names another address of nobody's; the error tells which was taken."""
    file = tmp_path / "server.toml"
    file.write_text('host = "203.0.113.1"\nhttp-port = 0\ngrpc_port = 0\nlog-format = "json"\naccess-log = true\n')
    given = (str(models), "--config", str(file))
    assert "203.0.113.1:0" in with_environment(*given)[1]
    assert "203.0.113.2:0" in with_environment(*given, BOOKSERVE_HOST="203.0.113.2")[1]
    assert "203.0.113.3:0" in with_environment(*given, "--host", "203.0.113.3", BOOKSERVE_HOST="203.0.113.2")[1]
    assert "203.0.113.1:0" in with_environment(str(models), BOOKSERVE_CONFIG=str(file))[1]


def test_all_may_stand_in_a_file(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        f'models = "{models}"\nhttp-port = 0\ngrpc-port = 0\nversion-policy = "all"\npoll = 0.5\nmax-batch = 8\n'
        'log-format = "json"\n'
    )
    with subprocess.Popen(
        [*COMMAND, "--json", "--config", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert read(process)["models"] == ["affine", "digits", "digits", "pair", "plane", "reviews", "writer"]
        process.terminate()
        assert all(line.startswith('{"time"') for line in process.communicate(timeout=30)[1].splitlines())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("http-port = ", "not TOML"),
        ("http-prot = 1", "http-prot"),
        ("config = 'x'", "config"),
        ("[server]\nhost = 'x'", "server"),
        ("host = ['a', 'b']", "single value"),
        ("http-port = 70000", "70000"),
        ("http-port = 'x'", "http-port"),
        ("log-format = 'xml'", "xml"),
        ("version-policy = 'newest'", "newest"),
        ("model-config-file = '/nowhere/models.config'", "/nowhere/models.config"),
        ("api-key-file = '/nowhere/keys'", "/nowhere/keys"),
    ],
)
def test_a_wrong_file_is_told(models: Path, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "server.toml").write_text(content)
    code, told = refused(str(models), "--config", str(tmp_path / "server.toml"), "--grpc-port", "0")
    assert code in (2, 3, 5)
    assert said in told


def test_a_file_that_is_missing_is_told(models: Path) -> None:
    code, told = refused(str(models), "--config", "/nowhere/server.toml")
    assert code == 3
    assert "/nowhere/server.toml" in told


def until(http: httpx.Client, path: str, wanted: str) -> dict[str, object]:
    """Ask until the answer holds what is wanted."""
    for _ in range(600):
        if wanted in (answer := http.get(path)).text:
            return answer.json()  # type: ignore[no-any-return]
        time.sleep(0.05)
    raise AssertionError(f"{path} never told '{wanted}': {answer.text}")


def test_a_server_finds_new_models_and_versions_by_itself(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "models"
    home.mkdir()
    with start(home, "--poll", "0.1") as server, httpx.Client(base_url=server.http, trust_env=False) as http:
        assert http.get("/api/models").json()["models"] == []
        shutil.copytree(models / "affine", tmp_path / "copy")
        (tmp_path / "copy").rename(home / "affine")
        until(http, "/api/models", "affine")
        shutil.copytree(models / "affine/1", tmp_path / "copy")
        (tmp_path / "copy/model.onnx").write_bytes(b"broken")
        (tmp_path / "copy").rename(home / "affine/2")
        told = until(http, "/v1/models/affine", "model.onnx")
        states = [(item["version"], item["state"]) for item in told["model_version_status"]]  # type: ignore[attr-defined]
        assert states == [("2", "END"), ("1", "AVAILABLE")]
        body = {"instances": [[1, 2, 3]]}
        assert http.post("/v1/models/affine:predict", json=body).json() == {"predictions": [[3, 5, 7]]}


def test_a_models_config_is_served_and_followed(models: Path, tmp_path: Path) -> None:
    def write(text: str) -> None:
        (tmp_path / ".models.config").write_text(f"model_config_list {{ {text} }}")
        (tmp_path / ".models.config").rename(tmp_path / "models.config")

    two = f"config {{ name: 'two' base_path: '{models}/digits' model_version_policy {{ all {{}} }} %s }}"
    write(two % "version_labels { key: 'stable' value: 1 }")
    options = ("--model-config-file", str(tmp_path / "models.config"), "--poll", "0.1")
    with (
        start(tmp_path / "nothing", *options) as server,
        httpx.Client(base_url=server.http, trust_env=False) as http,
    ):
        assert http.get("/v1/models/two/labels/stable/metadata").json()["model_spec"]["version"] == "1"
        assert http.get("/v1/models/two/metadata").json()["model_spec"]["version"] == "2"
        assert http.get("/v1/models/two/labels/other/metadata").status_code == 400
        write("config { name: ")  # a mistake: all stays as it is
        time.sleep(0.5)
        assert http.get("/v1/models/two/metadata").status_code == 200
        write(f"config {{ name: 'one' base_path: '{models}/affine' }}")
        until(http, "/v1/models/one", "AVAILABLE")
        assert http.get("/v1/models/two/metadata").status_code == 404


def test_a_models_config_that_is_wrong_is_an_error_at_the_start(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("model_config_list {")
    code, told = refused(str(models), *FREE, "--model-config-file", str(path))
    assert code == 5
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in told
    label = "version_labels { key: 'stable' value: 9 }"
    path.write_text(f"model_config_list {{ config {{ name: 'a' base_path: '{models}/affine' {label} }} }}")
    code, told = refused(str(models), *FREE, "--model-config-file", str(path))
    assert code == 5
    assert "not currently available for inference" in told
    waiting = "--allow-version-labels-for-unavailable-models"
    with started(models, "--json", "--model-config-file", str(path), waiting) as process:
        assert read(process)["models"] == ["a"]
        process.terminate()
        wait_for(process, "stopped")

"""The command line of ``tensorflow_model_server``: what ``bookserve serve`` takes of it, and what it refuses."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import pytest

from bookserve.errors import InvalidInput
from serve.app.model_server_flags import read_flags
from tests.serve.processes import refused
from tests.servers import start


@pytest.mark.parametrize(
    ("given", "remaining", "ignored"),
    [
        (["--rest_api_port=8501"], ["--rest-api-port=8501"], []),
        (["--port", "8500", "models"], ["--port", "8500", "models"], []),
        (["--model_base_path=/a_b=c"], ["--model-base-path=/a_b=c"], []),
        (["--lazy=true", "--lazy=1"], ["--lazy", "--lazy"], []),
        (["--lazy=false", "--lazy=0"], [], []),
        (["--enable_batching", "models"], ["models"], ["--enable-batching"]),
        (["--enable_batching=false"], [], ["--enable-batching"]),
        (["--tensorflow_intra_op_parallelism", "4"], [], ["--tensorflow-intra-op-parallelism"]),
        (["--saved_model_tags=serve", "--use_alts_credentials=false", "--ssl_config_file="], [], []),
        (["--", "--enable_batching"], ["--", "--enable_batching"], []),
    ],
)
def test_flags_become_options(given: list[str], remaining: list[str], ignored: list[str]) -> None:
    assert read_flags(given, {"--lazy"}) == (remaining, ignored)


@pytest.mark.parametrize(
    "given",
    [
        ["--lazy=maybe"],
        ["--use_alts_credentials"],
        ["--saved_model_tags", "serve,gpu"],
        ["--platform_config_file=/x"],
        ["--prefer_tflite_model=true"],
        ["--enable_model_warmup=false"],
    ],
)
def test_flags_that_would_change_answers_are_refused_by_name(given: list[str]) -> None:
    with pytest.raises(InvalidInput, match=given[0].partition("=")[0].replace("_", "-")):
        read_flags(given, {"--lazy"})


@pytest.mark.slow
def test_a_server_is_started_by_the_flags_of_tensorflow_serving(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "affine", tmp_path / "base")
    (tmp_path / "batching").write_text("max_batch_size { value: 8 }")
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true, path: "/watch" }')
    flags = [
        "--port=0",
        "--rest_api_port=0",
        "--model_name=numbers",
        f"--model_base_path={tmp_path / 'base'}",
        "--enable_batching=true",
        f"--batching_parameters_file={tmp_path / 'batching'}",
        f"--monitoring_config_file={tmp_path / 'monitoring'}",
        "--rest_api_timeout_in_ms=30000",
        "--rest_api_enable_cors_support",
        "--allow_version_labels_for_unavailable_models=true",
        "--file_system_poll_wait_seconds=0.1",
        "--tensorflow_session_parallelism=2",
    ]
    with start(tmp_path / "nothing", *flags) as server, httpx.Client(base_url=server.http, trust_env=False) as http:
        answer = http.post(
            "/v1/models/numbers:predict", json={"instances": [[0, 1, 2]]}, headers={"origin": "http://x"}
        )
        assert answer.json() == {"predictions": [[1, 3, 5]]}
        assert answer.headers["access-control-allow-origin"] == "*"
        metrics = http.get("/watch")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert ':tensorflow:serving:request_count{model_name="numbers",status="OK"} 1' in metrics.text.splitlines()
        assert http.get("/monitoring/prometheus/metrics").status_code == 404
        shutil.copytree(models / "affine/1", tmp_path / "base/.new")
        (tmp_path / "base/.new").rename(tmp_path / "base/2")
        for _ in range(200):
            if http.get("/v1/models/numbers/metadata").json()["model_spec"]["version"] == "2":
                break
            time.sleep(0.05)
        assert http.post("/v1/models/numbers/versions/1:predict", json={"instances": [[0, 1, 2]]}).status_code == 404


@pytest.mark.slow
def test_a_wrong_flag_ends_the_start(models: Path) -> None:
    code, told = refused(str(models), "--enable_model_warmup=false")
    assert code == 5
    assert "--enable-model-warmup=false is not supported" in told

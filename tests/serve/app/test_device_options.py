"""``--device``, ``--model-device`` and what else concerns GPUs: on the command line, in the environment, in TOML."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bookserve.errors import InvalidInput
from bookserve.runtime import register_runtime, registry
from bookserve.runtime.devices import DeviceUnavailable
from bookserve.runtime.fake_gpu import FakeGpu, FakeGpuRuntime
from serve.app import cli, server
from serve.app.settings import Settings
from serve.observability.metrics import Metrics


@pytest.fixture
def settings_of(models: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs ``bookserve serve`` with arguments, and gives the settings with which the server would run."""
    found: list[Settings] = []
    monkeypatch.setattr(server, "run", lambda settings, ready: found.append(settings))
    monkeypatch.setattr(registry, "_registered", [])

    def settings(*arguments: str, **environment: str) -> Settings:
        result = CliRunner().invoke(cli.serve, [str(models), *arguments], env=environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return found.pop()

    level = logging.getLogger().level
    yield settings
    logging.getLogger().setLevel(level)


def test_a_model_may_have_a_device_of_its_own(settings_of: Any) -> None:
    settings = settings_of("--device", "gpu", "--model-device", "affine=cpu", "--model-device", "pair=gpu:1")
    assert settings.device.name == "cuda"
    assert settings.devices == {"affine": "cpu", "pair": "cuda:1"}


def test_the_file_has_a_table_of_them(settings_of: Any, tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(
        'device = "cuda"\ngpu-memory = 2048\ngpu-replicas = 2\ncuda-graphs = true\n'
        '[model-device]\naffine = "cpu"\npair = "gpu:1"\n'
    )
    settings = settings_of("--config", str(path))
    assert settings.device.name == "cuda"
    assert settings.devices == {"affine": "cpu", "pair": "cuda:1"}
    assert (settings.device.gpu_memory, settings.device.replicas, settings.device.cuda_graphs) == (2 << 30, 2, True)
    settings = settings_of("--config", str(path), "--model-device", "pair=cpu", "--device", "auto")
    assert settings.device.name == "auto"
    assert settings.devices == {"pair": "cpu"}  # the command line's table stands in place of the file's


def test_the_environment_has_it_too(settings_of: Any) -> None:
    settings = settings_of(BOOKSERVE_DEVICE="cpu", BOOKSERVE_MODEL_DEVICE="affine=cuda:2")
    assert (settings.device.name, settings.devices) == ("cpu", {"affine": "cuda:2"})


@pytest.mark.parametrize("text", ["affine", "=cpu", "affine=tpu", "affine=cuda:-1", "affine="])
def test_what_is_not_a_device_of_a_model(settings_of: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match="is not"):
        settings_of("--model-device", text)


def test_models_run_where_the_file_says(settings_of: Any, tmp_path: Path) -> None:
    gpus = [FakeGpu("A", memory=1 << 30), FakeGpu("B", memory=1 << 30)]
    register_runtime(FakeGpuRuntime(*gpus))
    path = tmp_path / "serve.toml"
    path.write_text('device = "cpu"\n[model-device]\naffine = "cuda:1"\n')
    repository = server._repository(settings_of("--config", str(path)), Metrics(), shared=False)
    repository.load()
    placed = {model.name: model.devices() for model in repository.models()}
    assert placed["affine"]["serving_default"]["gpu"] == "cuda:1"
    assert all(not devices for name, devices in placed.items() if name != "affine")
    assert (bool(gpus[0].used), bool(gpus[1].used)) == (False, True)
    repository.close()


def test_a_device_of_a_model_that_is_not_there_stops_the_start(settings_of: Any) -> None:
    register_runtime(FakeGpuRuntime(FakeGpu("A")))
    settings = settings_of("--device", "cpu", "--model-device", "affine=cuda:3")
    with pytest.raises(DeviceUnavailable):
        server._repository(settings, Metrics(), shared=False)

"""``bookserve doctor``: the report, the exit code, and what it says of a library that does not work."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from bookserve.cli import doctor
from bookserve.errors import Failed
from bookserve.runtime import probe, register_runtime, registry
from bookserve.runtime.devices import DeviceUnavailable
from bookserve.runtime.fake_gpu import FakeGpu, FakeGpuRuntime

DATA = {"place": "/data", "sets": [{"name": "MNIST", "found": True, "downloaded": True, "tasks": "mnist_*"}]}
FOUND: dict[str, dict[str, Any]] = {
    "bookserve.runtime.probe": {"package": "onnxruntime 1", "devices": [{"device": "cpu", "milliseconds": 1.0}]},
    "tensorflow": {"package": "tensorflow 2", "devices": [{"device": "cpu", "milliseconds": 1.0}]},
    "jax": {"problem": "its process ended with code -11.", "hint": ""},
    "data": DATA,
}


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What the processes find that the doctor starts; a test may change it."""
    found = {name: dict(of) for name, of in FOUND.items()}
    monkeypatch.setattr(doctor, "_run_probe", lambda *words: found[words[-1]])
    return found


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(doctor.doctor, list(words))
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_machine_on_which_everything_works(models: Path, probes: dict[str, Any]) -> None:
    code, text = run("--models", str(models))
    assert code == 0
    for said in (
        "✓ serving will work",
        "✓ training will work",
        "512 × 512 matrix product in 1.00 ms",
        "MNIST in /data",
    ):
        assert said in text
    assert "✗ " in text  # JAX is broken, but nothing needs it
    assert "its process ended with code -11" in text


class Package(NamedTuple):
    name: str
    version: str


@pytest.mark.parametrize(("others", "mark"), [(0, "✓"), (1, "✗")])
def test_cudas_libraries_and_two_of_cudnn(
    models: Path, probes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, others: int, mark: str
) -> None:
    packages = [Package("nvidia-cudnn-cu13", "9.28"), Package("nvidia-cublas", "13"), Package("click", "8")]
    packages += [Package("nvidia-cudnn-cu12", "9.27")][:others]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: packages)
    text = run("--models", str(models))[1]
    assert f"{mark} libraries" in text
    assert f"{2 + others} packages: " in text
    assert "nvidia-cudnn-cu13 9.28" in text
    assert ("overwrite each other's files" in text) == bool(others)


def test_the_exit_code_says_what_will_not_work(models: Path, probes: dict[str, Any]) -> None:
    probes["tensorflow"] = {"problem": "it does not answer within 300 s.", "hint": ""}
    assert run("--models", str(models))[0] == 1
    assert run("--models", str(models), "--for", "serve")[0] == 0
    code, text = run("--models", str(models), "--for", "train")
    assert code == 1
    assert "training will not work: TensorFlow missing. pip install 'bookserve[train]'" in text
    probes["bookserve.runtime.probe"] = {"problem": "ONNX Runtime is not installed.", "hint": "pip install it"}
    assert run("--models", str(models), "--for", "serve")[0] == 1


def test_the_report_as_json(tmp_path: Path, probes: dict[str, Any]) -> None:
    code, text = run("--models", str(tmp_path / "none"), "--json")
    report = json.loads(text)
    assert (code, report["serve"], report["train"]) == (
        0,
        {"works": True, "missing": []},
        {"works": True, "missing": []},
    )
    assert {line["section"] for line in report["lines"]} >= {"machine", "NVIDIA", "ONNX Runtime", "JAX", "ports"}
    (line,) = [line for line in report["lines"] if line["section"] == "models"]
    assert line["hint"].startswith("bookserve export TASK writes models.")


def test_onnx_runtime_is_tried_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])
    runtime = FakeGpuRuntime(FakeGpu("Good"), FakeGpu("Bad"))
    runtime._gpus[1].lost = True
    register_runtime(runtime)
    cpu, good, bad = probe.probe()["devices"]
    assert (cpu["device"], cpu["milliseconds"] > 0) == ("cpu", True)
    assert (good["device"], good["milliseconds"] > 0) == ("cuda:0", True)
    assert "has failed" in bad["problem"]
    runtime.problem = DeviceUnavailable("there is no driver.", "Install it.")
    found = probe.probe()
    assert len(found["devices"]) == 1
    assert found["hint"]


def test_a_device_that_computes_wrongly_is_found_out() -> None:
    with pytest.raises(Failed, match="product of two matrices is wrong"):
        probe.product_milliseconds(lambda left, right: 1.1 * (left @ right))


@pytest.mark.slow
def test_a_process_that_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "-c", "import sys, os; print('no library', file=sys.stderr); os._exit(7)"]
    monkeypatch.setattr(doctor, "python_command", lambda *_: words)
    found = doctor._run_probe("x")
    assert found["problem"] == "its process ended with code 7: no library."


@pytest.mark.slow
def test_onnx_runtime_and_the_data_are_really_tried() -> None:
    found = doctor._run_probe("bookserve.runtime.probe")
    assert found["package"].startswith("onnxruntime")
    assert found["devices"][0]["milliseconds"] > 0
    assert {one["name"] for one in doctor._run_probe("trainers.cli.probe", "data")["sets"]} >= {"MNIST", "weights"}

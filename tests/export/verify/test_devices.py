"""``bookserve verify --device``: a graph on a GPU must give the answers of the examples, and must have run there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bookserve import bundle
from bookserve.runtime import register_runtime, registry
from bookserve.runtime.fake_gpu import FakeGpu, FakeGpuRuntime
from export.verify.verify import verify_bundle
from tests.bundles import write_affine


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_affine(tmp_path)
    return tmp_path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    monkeypatch.setattr(registry, "_registered", [])
    gpu = FakeGpu()
    register_runtime(FakeGpuRuntime(gpu))
    return gpu


def test_examples_are_run_on_the_gpu_too(models: Path, gpu: FakeGpu) -> None:
    (line,) = verify_bundle(bundle.open_bundle(models, "affine"), "cuda")
    assert line.ok
    assert (line.onnx_difference, line.gpu_difference) == (0, 0)
    assert sum(gpu.runs) == 1 + 1 + 3  # all rows, each row alone, three times the batch
    (line,) = verify_bundle(bundle.open_bundle(models, "affine"))
    assert line.gpu_difference is None


def test_what_ran_on_the_cpu_in_the_end_is_not_verified(models: Path, gpu: FakeGpu) -> None:
    gpu.lost = True
    (line,) = verify_bundle(bundle.open_bundle(models, "affine"), "cuda:0")
    assert line.gpu_difference == 0
    assert line.problem.startswith("ONNX on cuda:0: cuda:0 has failed: CUDA failure 719")

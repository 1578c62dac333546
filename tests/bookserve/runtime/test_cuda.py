"""What is missing on a machine where a GPU cannot be used, and what a driver says, with a driver compiled here."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bookserve.runtime import cuda
from bookserve.runtime.devices import DeviceUnavailable, Gpu
from bookserve.runtime.onnx import OnnxRuntime

pytestmark = pytest.mark.slow  # it compiles


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a library that answers as the driver does."""
    built = tmp_path_factory.mktemp("driver") / "libfake.so"
    compiler = shutil.which("gcc") or "cc"
    source = Path(__file__).parent / "fake_driver.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", str(source), "-o", str(built)], check=True)
    return str(built)


def test_gpus_are_listed_with_the_memory_that_is_free(driver: str) -> None:
    found = cuda.read_driver(driver, driver)
    assert found.cuda == (13, 0)
    assert found.version == "580.65"
    assert found.gpus == [Gpu("cuda:0", "Large", 80 << 30, 3 << 30), Gpu("cuda:1", "Small", 8 << 30, 7 << 30)]
    assert str(found.gpus[0]) == "cuda:0 (Large, 80 GiB)"


def test_without_the_monitoring_library_all_memory_counts_as_free(driver: str) -> None:
    found = cuda.read_driver(driver, "libthere-is-none.so")
    assert (found.version, found.gpus[1].free) == ("", 8 << 30)


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        ("100", "finds no GPU", "CUDA_VISIBLE_DEVICES"),
        ("803", "does not start: system driver mismatch", "restart the machine"),
    ],
)
def test_a_driver_that_does_not_work(
    driver: str, monkeypatch: pytest.MonkeyPatch, code: str, said: str, hint: str
) -> None:
    monkeypatch.setenv("FAKE_INIT", code)
    with pytest.raises(DeviceUnavailable, match=said) as caught:
        cuda.read_driver(driver, driver)
    assert hint in caught.value.hint


def test_no_driver_at_all() -> None:
    with pytest.raises(
        DeviceUnavailable, match=r"driver is not installed \(libthere-is-none\.so is not found\)"
    ) as caught:
        cuda.read_driver("libthere-is-none.so")
    assert "--device cpu" in caught.value.hint


def test_a_driver_that_is_too_old_for_the_runtime(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA", "12040")
    found = cuda.read_driver(driver, driver)
    problem = cuda.driver_problem(found, "13.0")
    assert problem
    assert problem.message == "NVIDIA's driver 580.65 runs CUDA up to 12.4; this ONNX Runtime is built for CUDA 13.0."
    assert cuda.driver_problem(found, "12.8") is None


def test_missing_libraries_are_named_with_their_packages() -> None:
    problem = cuda.libraries_problem(99)
    assert problem
    assert "libcudart.so.99" in problem.message
    assert "pip install 'bookserve[cuda]'" in problem.hint
    assert "nvidia-cudnn-cu99" in problem.hint


def test_onnx_runtime_names_what_it_lacks_on_this_machine(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver, but without CUDA's libraries or without the CUDA build: never a GPU that then does not work."""
    try:
        cuda.read_driver()
    except DeviceUnavailable:
        pass
    else:
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceUnavailable, match="driver"):
        OnnxRuntime().gpus()
    found = cuda.read_driver(driver, driver)
    monkeypatch.setattr(cuda, "read_driver", lambda: found)
    with pytest.raises(DeviceUnavailable, match=r"libraries of CUDA \d+ are missing: lib|built for CPUs only"):
        OnnxRuntime().gpus()


def test_an_array_is_pinned_as_long_as_it_lives(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.zeros(10)
    assert cuda.pin(array, driver)
    assert ctypes.CDLL(driver).pinned_arrays() == 1
    del array
    assert ctypes.CDLL(driver).pinned_arrays() == 0
    monkeypatch.setenv("FAKE_PIN", "1")
    assert not cuda.pin(np.zeros(10), driver)
    assert not cuda.pin(np.zeros(10), "libthere-is-none.so")

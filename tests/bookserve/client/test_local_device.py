"""``connect("local:…", device=…)``: models of this process on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bookserve import connect
from bookserve.errors import InvalidInput
from bookserve.images import encode_png
from bookserve.runtime import register_runtime, registry
from bookserve.runtime.devices import DeviceUnavailable
from bookserve.runtime.fake_gpu import FakeGpu, FakeGpuRuntime
from tests.picture_bundles import write_dreamer, write_painter

ROWS = [[0, 1, 2], [3, 4, 5]]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpuRuntime:
    monkeypatch.setattr(registry, "_registered", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime = FakeGpuRuntime(FakeGpu())
    register_runtime(runtime)
    return runtime


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_a_device_for_models_of_this_process(
    models: Path, runtime: FakeGpuRuntime, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    with connect(f"local:{models}") as client:
        expected = client.predict("affine", ROWS)
    if source == "environment":
        monkeypatch.setenv("BOOKSERVE_LOCAL_DEVICE", "gpu")
    with connect(f"local:{models}", device="cuda" if source == "argument" else None) as client:
        found = client.predict("affine", ROWS)
        assert [dict(row) for row in map(_lists, found)] == [dict(row) for row in map(_lists, expected)]
        assert client.generate("writer", "abc", length=4, seed=1)
    assert runtime._gpus[0].runs


def test_a_device_that_cannot_be_used_is_said_at_once(models: Path, runtime: FakeGpuRuntime) -> None:
    runtime.problem = DeviceUnavailable("NVIDIA's driver is not installed.", "Install it.")
    with pytest.raises(DeviceUnavailable):
        connect(f"local:{models}", device="cuda")
    with connect(f"local:{models}", device="auto") as client:
        assert len(client.predict("affine", ROWS)) == 2
    with pytest.raises(InvalidInput, match="'tpu' is not a device"):
        connect(f"local:{models}", device="tpu")


@pytest.mark.parametrize(("model", "pictures"), [("dreamer", 1), ("painter", 2)])
def test_dreams_and_paintings_need_no_tensorflow_on_a_gpu(
    tmp_path: Path, runtime: FakeGpuRuntime, monkeypatch: pytest.MonkeyPatch, model: str, pictures: int
) -> None:
    (write_dreamer if model == "dreamer" else write_painter)(tmp_path)
    photo = encode_png(np.random.default_rng(0).integers(0, 256, (80, 96, 3)).astype(np.uint8))
    with monkeypatch.context() as hidden, connect(f"local:{tmp_path}") as client:
        hidden.setitem(sys.modules, "tensorflow", None)  # every import of it fails
        expected = client.transform(model, [photo] * pictures, {"iterations": 2})
    assert not runtime._gpus[0].runs
    with monkeypatch.context() as hidden, connect(f"local:{tmp_path}", device="cuda") as client:
        hidden.setitem(sys.modules, "tensorflow", None)
        np.testing.assert_array_equal(client.transform(model, [photo] * pictures, {"iterations": 2}), expected)
    assert runtime._gpus[0].runs


def test_a_server_has_its_own_devices() -> None:
    with pytest.raises(InvalidInput, match="has its own devices"):
        connect("http://127.0.0.1:9", device="cuda")


def _lists(answer):  # type: ignore[no-untyped-def]
    return {name: value if isinstance(value, list) else value.tolist() for name, value in answer.items()}

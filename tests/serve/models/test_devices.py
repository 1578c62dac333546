"""A server with fake GPUs: where models run, what ``/metrics`` and the API say of it, and what happens in a failure."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import httpx
import msgspec
import pytest

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.bundle.variant import Variant
from bookserve.errors import Failed
from bookserve.runtime import DeviceConfig, register_runtime, registry, resolve_device
from bookserve.runtime.devices import DeviceLost
from bookserve.runtime.fake_gpu import FakeGpu, FakeGpuRuntime
from serve.models.live_model import LiveModel
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from tests.serve.in_process import application_client


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """The only GPU of this machine. By its cost model it is faster than the CPU at any size."""
    monkeypatch.setattr(registry, "_registered", [])
    gpu = FakeGpu(start=0.0, per_row=0.0)
    register_runtime(FakeGpuRuntime(gpu))
    return gpu


def on(device: str, **others: str) -> LoadOptions:
    return LoadOptions(device=DeviceConfig(device, measure=False), devices=others)


def predict(client: httpx.Client, model: str, rows: int) -> httpx.Response:
    return client.post(f"/v1/models/{model}:predict", json={"instances": [[0.0, 1.0, 2.0]] * rows})


def values(client: httpx.Client, metric: str, model: str) -> dict[str, float]:
    """The values of a metric for the default graph of a model, by device or reason."""
    found = {}
    for labels, value in re.findall(rf"^bookserve_{metric}{{(.+)}} (\S+)$", client.get("/metrics").text, re.MULTILINE):
        label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if (label["model"], label["graph"]) == (model, "serving_default"):
            found[label.get("device") or label["reason"]] = float(value)
    return found


def test_large_requests_run_on_the_gpu_and_metrics_say_so(models: Path, gpu: FakeGpu) -> None:
    with application_client(models, on("auto")) as client:
        gpu.runs.clear()
        for rows in (1, 40):
            assert predict(client, "affine", rows).json() == {"predictions": [[1.0, 3.0, 5.0]] * rows}
        assert gpu.runs == [40]
        rows_run = values(client, "device_rows_total", "affine")
        assert rows_run["cuda:0"] == 40
        assert rows_run["cpu"] == 3  # one row warms the graph up, twice
        assert values(client, "device_runs_total", "affine")["cuda:0"] == 1
        described = client.get("/api/models/affine").json()["devices"]
        assert described == {"serving_default": {"gpu": "cuda:0", "gpu_from_rows": 32, "problem": ""}}


def test_a_request_larger_than_a_run_is_cut_for_the_gpu(models: Path, gpu: FakeGpu) -> None:
    with application_client(models, on("cuda")) as client:
        gpu.runs.clear()
        assert len(predict(client, "affine", 600).json()["predictions"]) == 600
        assert gpu.runs == [256, 256, 88]


def test_a_model_may_have_a_device_of_its_own(models: Path, gpu: FakeGpu) -> None:
    with application_client(models, on("cuda", affine="cpu")) as client:
        gpu.runs.clear()
        assert predict(client, "affine", 3).status_code == 200
        assert gpu.runs == []
        assert "devices" not in client.get("/api/models/affine").json()
        assert "devices" in client.get("/api/models/pair").json()
        assert values(client, "device_rows_total", "affine") == {"cpu": 4}  # one row warms it up


def test_a_gpu_that_fails_loses_no_request(models: Path, gpu: FakeGpu, caplog: pytest.LogCaptureFixture) -> None:
    with application_client(models, on("cuda")) as client:
        gpu.lost = True
        for _ in range(3):
            assert predict(client, "affine", 2).json() == {"predictions": [[1.0, 3.0, 5.0]] * 2}
        assert values(client, "device_fallbacks_total", "affine") == {"lost": 1}
        problem = client.get("/api/models/affine").json()["devices"]["serving_default"]["problem"]
        assert "cuda:0 has failed" in problem
        assert sum("graph 'serving_default' of model 'affine' runs on the CPU" in line for line in caplog.messages) == 1


def test_a_batch_that_does_not_fit_is_answered(models: Path, gpu: FakeGpu) -> None:
    with application_client(models, on("cuda")) as client:
        gpu.runs.clear()
        gpu.max_rows = 100
        assert len(predict(client, "affine", 256).json()["predictions"]) == 256
        assert gpu.runs == [64, 64, 64, 64]
        assert values(client, "device_fallbacks_total", "affine") == {"out_of_memory": 2}


class WrongGpu(FakeGpuRuntime):
    """A GPU whose products are wrong, and which fails on demand."""

    fails = False

    def open_on_gpu(self, path, graph, device, config, threads):  # type: ignore[no-untyped-def]
        session = super().open_on_gpu(path, graph, device, config, threads)
        right = session.run

        def wrong(feeds):  # type: ignore[no-untyped-def]
            if self.fails:
                raise DeviceLost(f"{device} has failed: CUDA failure 700.")
            return {name: array + 1 for name, array in right(feeds).items()}

        session.run = wrong
        return session


@pytest.mark.parametrize("fails", [False, True])
def test_a_gpu_that_does_not_give_the_answers_of_the_examples(
    models: Path, monkeypatch: pytest.MonkeyPatch, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "_registered", [])
    runtime = WrongGpu(FakeGpu())
    runtime.fails = fails
    register_runtime(runtime)
    with application_client(models, on("auto")) as client, caplog.at_level(logging.WARNING):
        assert predict(client, "affine", 40).json() == {"predictions": [[1.0, 3.0, 5.0]] * 40}
        assert values(client, "device_fallbacks_total", "affine") == {"differs": 1}
    repository = Repository(models, Metrics(), options=on("cuda"))
    repository.load()
    assert not repository.models()
    assert "does not give the answers of the examples" in str(repository.errors()[0])
    repository.close()


@pytest.mark.parametrize(("difference", "accepted"), [(0.6, True), (0.4, False)])
def test_a_variant_may_differ_on_a_gpu_as_it_did_when_it_was_exported(
    models: Path, monkeypatch: pytest.MonkeyPatch, difference: float, accepted: bool
) -> None:
    """Half precision is not within the tolerance of float32: here the answers differ by 1."""
    monkeypatch.setattr(registry, "_registered", [])
    register_runtime(WrongGpu(FakeGpu()))
    opened = bundle.open_bundle(models, "affine")
    variant = Variant(file="model.onnx", bytes=0, rows=4, difference=difference, deviation=0.1)
    variants = {"float16": {"serving_default": variant}}
    served = Bundle(opened.path, msgspec.structs.replace(opened.manifest, variants=variants), "affine")
    model = LiveModel(served.with_variant("float16"), Metrics(), device="cuda")
    if accepted:
        model.open()
        assert model.devices()["serving_default"]["gpu"] == "cuda:0"
        model.close()
    else:
        with pytest.raises(Failed, match="does not give the answers of the examples"):
            model.open()


def test_texts_with_a_seed_stay_on_one_device(models: Path, gpu: FakeGpu) -> None:
    """Without measuring that is the CPU, whatever the batch size."""
    with application_client(models, on("auto")) as client:
        assert "devices" not in client.get("/api/models/writer").json()
        texts = client.post(
            "/api/models/writer/generate", json={"prompt": "abc", "length": 5, "seed": 1, "n": 40}
        ).json()["texts"]
        assert len(texts) == 40
        assert not any(count >= 40 for count in gpu.runs)


def test_models_beyond_those_with_values_of_their_own_are_counted_once(models: Path, gpu: FakeGpu) -> None:
    metrics = Metrics(models_shown=1)
    repository = Repository(models, metrics, options=on("cuda"))
    repository.load()

    def total(device: str) -> float:
        found = re.findall(rf'^bookserve_device_rows_total{{.*device="{device}".*}} (\S+)$', text, re.MULTILINE)
        return sum(map(float, found))

    for _ in range(3):
        text = metrics.expose()[0].decode()
    assert total("cuda:0") == sum(
        session.counts["cuda:0"].rows for model in repository.models() for session in model.on_gpu.values()
    )
    assert total("cpu") == 0
    repository.close()


def test_gpus_and_their_memory_are_metrics(gpu: FakeGpu) -> None:
    gpu.memory, gpu.used = 1000, 300
    metrics = Metrics()
    assert "bookserve_gpu" in metrics.expose()[0].decode()
    metrics.follow_gpus(lambda: resolve_device(DeviceConfig("auto"))[1])
    text = metrics.expose()[0].decode()
    assert 'bookserve_gpu_usable{device="cuda:0"} 1.0' in text
    assert 'bookserve_gpu_memory_bytes{device="cuda:0",state="used"} 300.0' in text
    gpu.memory = 0

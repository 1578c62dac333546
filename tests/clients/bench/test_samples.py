"""The bench of pictures: every way to ask is answered, and counted in pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from bookserve.client import Client
from bookserve.errors import InvalidInput
from clients.bench.samples import FILE, measure_samples
from tests.clients.conftest import Bookserve
from tests.servers import Server

WAYS = {"http": ("api, sheet", "api, PNGs", "api, NPZ", "v2, tensors"), "grpc": ("api, PNGs", "v2, tensors")}


def test_every_way_is_measured(models: Path, server: Server) -> None:
    for url in (server.http, server.grpc):
        report = measure_samples("plane", models, url, 0.1, [1, 3], [1, 5])
        scheme = url.partition(":")[0]
        counts = {"1 picture": 1, "5 pictures": 5}
        served = {
            f"{scheme} {way}, {count}, {callers}": pictures
            for count, pictures in counts.items()
            for way in WAYS[scheme]
            for callers in ("1 caller", "3 callers")
        }
        expected = {
            f"{kind}{count}": pictures for kind in ("raw, ", "local:, ") for count, pictures in counts.items()
        } | served
        lines = {line["workload"]: line for line in report["workloads"]}
        assert set(lines) == {*expected, f"{scheme}, to .npy"}
        for line in lines.values():
            assert line["errors"] == 0
            assert line["requests/s"] > 0 or line["workload"].endswith(".npy")
            assert line["ratio"] > 0
        assert all(lines[f"raw, {count}"]["ratio"] == 1 for count in counts)
    assert FILE > 256  # more than one request


def test_the_command_reports(bookserve: Bookserve, models: Path, server: Server) -> None:
    done = bookserve(
        *("bench", "sample", "plane", "--models", str(models), "--url", server.http),
        *("--seconds", "0.1", "--clients", "2", "--pictures", "3", "--json"),
    )
    assert {line["workload"] for line in json.loads(done.out)["workloads"]} >= {"raw, 3 pictures", "local:, 3 pictures"}


def test_only_models_that_draw(models: Path, server: Server) -> None:
    with pytest.raises(InvalidInput, match="sample"):
        measure_samples("digits", models, server.http, 0.1, [1], [1])


def test_points_and_pixels_come_as_npz(server: Server, local: Client) -> None:
    url = f"{server.http}/api/models/plane/sample"
    answer = httpx.post(url, json={"n": 7, "seed": 3}, headers={"accept": "application/x-npz"}, trust_env=False)
    assert answer.headers["content-type"] == "application/x-npz"
    expected = local.sample("plane", 7, seed=3)
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        assert {name: array.dtype.name for name, array in arrays.items()} == {"latent": "float32", "images": "uint8"}
        assert np.array_equal(arrays["latent"], expected.latent)
        assert np.array_equal(arrays["images"], expected.images)

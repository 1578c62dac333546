"""Measure pictures from a latent space, compared with ONNX Runtime alone: ``bookserve bench sample MODEL``.

The baseline decodes the same number of points per run in a session of this process, without making pictures. The server
draws the points (or receives them, over the Open Inference Protocol) and sends the pixels as one PNG, as one PNG per
picture, or as tensors. ``local:`` and the .npy file use bookserve's own client and command.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from bookserve import bundle
from bookserve.api import native_pb2 as pb
from bookserve.bundle import Bundle
from bookserve.client.address import connect
from bookserve.client.client import SAMPLES
from bookserve.errors import Failed
from bookserve.graph import Arrays
from bookserve.runtime import open_onnx
from bookserve.verb import Sample
from clients.bench.load import Measurement, grpc_callers, http_callers, http_request, infer_request
from clients.bench.tensors import INFER, TURNS, Workload, measure_callers, measure_loop, server_addresses
from clients.sample import write_frames

#: Number of pictures in an .npy file; they need several requests.
FILE = 2 * SAMPLES


def measure_samples(
    model: str,
    models: Path,
    url: str | None,
    seconds: float,
    callers: list[int],
    pictures: list[int],
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure the newest version of ``model`` with these numbers of ``pictures`` per request.

    Returns ``model``, ``version`` and ``workloads``.

    Raises:
        NotFound, InvalidInput, Failed: the model cannot be run here or on the server, or has no latent space.
        NotReady: there is no server at ``url``.
    """
    found = bundle.open_bundle(models, model)
    feeds = {count: _points(found, count) for count in pictures}
    backend = open_onnx(found, found.graph(found.verb(Sample).decode)[0], device=device)
    raw = {
        count: Workload(f"raw, {_of(count)}", count, measure_loop(partial(backend.run, feeds[count])))
        for count in pictures
    }
    with server_addresses(models, url, device) as served, connect(f"local:{models}", device=device) as local:
        workloads = list(raw.values())
        for count in pictures:
            workloads.append(
                Workload(f"local:, {_of(count)}", count, measure_loop(partial(local.sample, model, count)))
            )
        for address in served:
            for count in pictures:
                workloads += _served(address, model, feeds[count], count, callers)
            workloads.append(Workload(f"{urlsplit(address).scheme}, to .npy", FILE, _file(address, model)))
        for workload in workloads:
            workload.turn(seconds / TURNS / 10)  # warm up
            workload.forget()
        for _ in range(TURNS):
            for workload in workloads:
                workload.turn(seconds / TURNS)
    most = raw[max(pictures)]
    lines = [workload.line(raw.get(workload.rows, most)) for workload in workloads]
    return {"model": model, "version": found.version, "seconds": seconds, "workloads": lines}


def _points(found: Bundle, count: int) -> Arrays:
    verb = found.verb(Sample)
    _, graph = found.graph(verb.decode)
    if graph.onnx is None:
        raise Failed(f"graph '{verb.decode}' of '{found.name}' has no ONNX form.")
    return dict.fromkeys(graph.inputs, np.random.default_rng(0).standard_normal((count, verb.latent), np.float32))


def _served(address: str, model: str, feeds: Arrays, count: int, callers: list[int]) -> Iterator[Workload]:
    """Workloads for ``count`` pictures per request: each API at that address, with each number of callers."""
    parts = urlsplit(address)
    if parts.scheme == "grpc":
        message = pb.SampleRequest(model=model, n=count, seed=1).SerializeToString()
        ways = {
            "api, PNGs": grpc_callers(parts.netloc, "/bookserve.v1.Bookserve/Sample", message),
            "v2, tensors": grpc_callers(parts.netloc, INFER, infer_request(model, feeds)),
        }
    else:
        path, body = f"/api/models/{quote(model)}/sample", json.dumps({"n": count, "seed": 1}).encode()
        requests = {
            "api, sheet": http_request(parts.netloc, path, body, {"Accept": "image/png"}),
            "api, PNGs": http_request(parts.netloc, path, body),
            "api, NPZ": http_request(parts.netloc, path, body, {"Accept": "application/x-npz"}),
            "v2, tensors": _binary(parts.netloc, model, feeds),
        }
        ways = {way: http_callers(parts.hostname or "", parts.port or 80, sent) for way, sent in requests.items()}
    for way, connected in ways.items():
        for number in callers:
            name = f"{parts.scheme} {way}, {_of(count)}, {number} caller{'s' * (number > 1)}"
            yield Workload(name, count, measure_callers(connected, number))


def _binary(host: str, model: str, feeds: Arrays) -> bytes:
    """A REST request of the Open Inference Protocol's binary extension: tensors as bytes after the JSON."""
    inputs = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": "FP32",
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in feeds.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(array.tobytes() for array in feeds.values())
    return http_request(
        host, f"/v2/models/{quote(model)}/infer", body, {"Inference-Header-Content-Length": str(len(head))}
    )


def _file(address: str, model: str) -> Callable[[float], Measurement]:
    """Write files of ``FILE`` pictures, one after the other, as ``bookserve sample -o pictures.npy`` does."""

    def run(seconds: float) -> Measurement:
        with tempfile.TemporaryDirectory() as place, connect(address) as client:
            path = Path(place, "pictures.npy")

            def write() -> None:
                write_frames(path, FILE, (part.images for part in client.sample_parts(model, FILE, seed=1)))

            return measure_loop(write)(seconds)

    return run


def _of(count: int) -> str:
    return f"{count} picture{'s' * (count > 1)}"

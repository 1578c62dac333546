"""Starts a job over HTTP and reads its events."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np

from bookserve.images import encode_png

PHOTO = np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype(np.uint8)
IMAGE = {"b64": base64.b64encode(encode_png(PHOTO)).decode()}
LARGE = {"b64": base64.b64encode(encode_png(np.full((640, 640, 3), 90, np.uint8))).decode()}


def begin_long(http: httpx.Client) -> dict[str, Any]:
    """Start a job that takes about a minute unless it is cancelled."""
    # 13 sizes that hardly differ, with 1,000 iterations each.
    return begin(http, image=LARGE, iterations=1000, max_loss=1e9, octaves=12, octave_scale=1.001, height=1024)


def begin(
    http: httpx.Client, model: str = "dreamer", count: int = 1, image: dict[str, str] = IMAGE, **params: Any
) -> dict[str, Any]:
    response = http.post("/api/jobs", json={"model": model, "images": [image] * count, "params": params})
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()["job"]
    assert response.headers["location"] == f"/api/jobs/{job['id']}"
    return job


def events(http: httpx.Client, job: str) -> Iterator[dict[str, Any]]:
    with http.stream("GET", f"/api/jobs/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream"), response.read()
        for line in response.iter_lines():
            if line:
                yield json.loads(line.removeprefix("data: "))

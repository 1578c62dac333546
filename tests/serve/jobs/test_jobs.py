"""Jobs: started, watched, fetched, cancelled, bounded and forgotten, on a real server and its real engine."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bookserve.api.requests import TransformRequest
from bookserve.errors import NotFound
from bookserve.images import decode_image, encode_png
from serve.engine import Engine
from serve.jobs import job_queue as queue
from serve.jobs.job_queue import JobQueue
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from tests import picture_bundles
from tests.serve.jobs.requests import IMAGE, LARGE, PHOTO, begin, begin_long, events
from tests.servers import start


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_bundles.write_all(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def http(bundles: Path) -> Iterator[httpx.Client]:
    with start(bundles) as server, httpx.Client(base_url=server.http, trust_env=False, timeout=60) as client:
        yield client


@pytest.mark.slow
def test_a_dream_is_watched_and_fetched(http: httpx.Client) -> None:
    job = begin(http)
    told = list(events(http, job["id"]))
    assert told[-1]["done"]
    assert told[-1]["state"] == "done"
    assert 1 < told[-1]["step"] <= told[-1]["steps"] == 3  # an octave of 71 pixels would be too small to see
    assert told[-1]["loss"] > 0
    previews = [decode_image(base64.b64decode(event["preview"]["b64"])) for event in told if "preview" in event]
    result = http.get(f"/api/jobs/{job['id']}/result")
    assert result.headers["content-type"] == "image/png"
    picture = decode_image(result.content)
    assert picture.shape == PHOTO.shape
    assert np.array_equal(previews[-1], picture)
    assert np.abs(picture.astype(float) - 127.5).mean() > np.abs(PHOTO.astype(float) - 127.5).mean()  # it climbed
    assert job["id"] in [listed["id"] for listed in http.get("/api/jobs").json()["jobs"]]
    assert http.delete(f"/api/jobs/{job['id']}").status_code == 200  # one that has ended is forgotten
    assert http.get(f"/api/jobs/{job['id']}").status_code == 404


@pytest.mark.slow
def test_parameters_are_the_caller_s(http: httpx.Client) -> None:
    low = list(events(http, begin(http, iterations=2, height=80, contributions={"bright": 0.5})["id"]))[-1]
    high = list(events(http, begin(http, iterations=2, height=80)["id"]))[-1]
    assert low["steps"] == high["steps"] == 2
    assert low["loss"] == pytest.approx(high["loss"] / 2, rel=1e-5)
    assert decode_image(http.get(f"/api/jobs/{low['id']}/result").content).shape == (80, 96, 3)


@pytest.mark.slow
def test_painting_needs_two_pictures_and_copies_the_style(http: httpx.Client) -> None:
    job = begin(http, "painter", 2)
    assert list(events(http, job["id"]))[-1]["state"] == "done"
    assert http.post("/api/jobs", json={"model": "painter", "images": [IMAGE]}).status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": "nobody", "images": [IMAGE]}, 404, "no model 'nobody'"),
        ({"model": "corners", "images": [IMAGE]}, 400, "does not transform"),
        ({"model": "dreamer", "images": []}, 400, "not valid"),
        ({"model": "dreamer", "images": ["a text"]}, 400, "bytes of picture files"),
        ({"model": "dreamer", "images": [{"b64": "AAAA"}]}, 400, "not a picture"),
        ({"model": "dreamer", "images": [IMAGE], "params": {"unit": 3}}, 400, "'unit' is not a parameter"),
        ({"model": "dreamer", "images": [IMAGE], "params": {"iterations": 0}}, 400, "iterations"),
        ({"model": "dreamer", "images": [IMAGE], "params": {"contributions": {"nowhere": 1}}}, 400, "bright, idle"),
        ({"model": "dreamer", "images": [{"b64": IMAGE["b64"][:200]}]}, 400, "picture"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_begun(
    http: httpx.Client, body: dict[str, Any], status: int, said: str
) -> None:
    response = http.post("/api/jobs", json=body)
    assert response.status_code == status
    assert said in response.json()["error"]["message"]


@pytest.mark.slow
def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(http: httpx.Client) -> None:
    running, waiting = begin_long(http), begin_long(http)
    told = events(http, running["id"])
    assert next(event for event in told if event["step"] > 0)["state"] == "running"
    assert http.get(f"/api/jobs/{running['id']}/result").status_code == 409
    assert http.delete(f"/api/jobs/{waiting['id']}").json()["job"]["state"] == "cancelled"
    http.delete(f"/api/jobs/{running['id']}")
    last = list(told)[-1]
    assert last["state"] == "cancelled"
    assert last["step"] < last["steps"]


@pytest.mark.slow
def test_a_job_goes_on_after_its_request_s_connection_and_deadline(http: httpx.Client) -> None:
    with httpx.Client(base_url=http.base_url, trust_env=False, headers={"X-Request-Timeout": "0.2"}) as leaves:
        job = begin(leaves, image=LARGE, iterations=300, max_loss=1e9, octaves=0, height=1024)
    assert list(events(http, job["id"]))[-1]["state"] == "done"


@pytest.mark.slow
def test_only_so_many_may_wait(http: httpx.Client) -> None:
    jobs = [begin_long(http)]
    next(event for event in events(http, jobs[0]["id"]) if event["state"] == "running")
    jobs += [begin_long(http) for _ in range(queue.MAX_WAITING)]
    refused = http.post("/api/jobs", json={"model": "dreamer", "images": [IMAGE]})
    assert refused.status_code == 429
    assert "jobs are waiting" in refused.json()["error"]["message"]
    states = [http.get(f"/api/jobs/{job['id']}").json()["job"]["state"] for job in jobs]
    assert states == ["running"] + ["queued"] * queue.MAX_WAITING  # one at a time
    for job in reversed(jobs):
        http.delete(f"/api/jobs/{job['id']}")
    list(events(http, jobs[0]["id"]))


def test_results_are_kept_within_a_number_of_bytes_and_an_age(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    repository = Repository(bundles, metrics)
    repository.load()
    asked = TransformRequest("dreamer", [encode_png(PHOTO)], {"iterations": 1})
    late = 0.0

    async def work() -> None:
        import time

        jobs = JobQueue(Engine(repository, metrics), clock=lambda: time.time() + late)

        async def one() -> str:
            job = await jobs.start(asked)
            async for _ in job.watch():
                pass
            return job.id

        first, second = await one(), await one()
        assert jobs.get(first).state == jobs.get(second).state == "done"
        monkeypatch.setattr(queue, "KEEP_BYTES", jobs.get(second).size + 1)
        assert jobs.get(second)
        with pytest.raises(NotFound):
            jobs.get(first)
        nonlocal late
        late = queue.KEEP_SECONDS + 1
        assert jobs.list() == []
        await jobs.close()

    asyncio.run(work())
    repository.close()


@pytest.mark.slow
def test_the_server_stops_while_a_job_runs(bundles: Path) -> None:
    with start(bundles) as server, httpx.Client(base_url=server.http, trust_env=False, timeout=60) as client:
        job = begin_long(client)
        told = events(client, job["id"])
        assert next(event for event in told if event["step"] > 0)
        server.process.terminate()
        assert list(told)[-1]["state"] == "cancelled"
        assert server.process.wait(30) == 0

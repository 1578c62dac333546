"""Jobs of a server of several processes: whichever answers, it knows all of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bookserve.images import decode_image
from serve.jobs import job_queue as queue
from tests import picture_bundles
from tests.serve.jobs.requests import IMAGE, PHOTO, begin, begin_long, events
from tests.serve.processes import until, workers
from tests.servers import Server, start

#: Connections enough that each of two processes has some.
MANY = 12


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_bundles.write_all(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def server(bundles: Path) -> Iterator[Server]:
    with start(bundles, "--workers", "2") as running:
        yield running


@pytest.fixture
def clients(server: Server) -> Iterator[list[httpx.Client]]:
    made = [httpx.Client(base_url=server.http, trust_env=False, timeout=60) for _ in range(MANY)]
    yield made
    for client in made:
        client.close()


def told(client: httpx.Client, job: str) -> dict[str, Any]:
    answer = client.get(f"/api/jobs/{job}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["job"]
    return found


def test_every_process_tells_of_every_job_and_gives_its_picture(clients: list[httpx.Client]) -> None:
    jobs = [begin(client)["id"] for client in clients]
    for job, client in zip(jobs, reversed(clients), strict=True):
        *_, last = watched = list(events(client, job))
        assert last["done"]
        assert last["state"] == "done"
        assert any("preview" in event for event in watched)
    pictures = {client.get(f"/api/jobs/{jobs[0]}/result").content for client in clients}
    assert len(pictures) == 1
    assert decode_image(pictures.pop()).shape == PHOTO.shape
    for client in clients:
        assert [job["id"] for job in client.get("/api/jobs").json()["jobs"]] == jobs
    assert clients[0].delete(f"/api/jobs/{jobs[1]}").status_code == 200
    assert {client.get(f"/api/jobs/{jobs[1]}").status_code for client in clients} == {404}
    assert {client.get("/api/jobs/..").status_code for client in clients} == {404}


def test_one_runs_at_a_time_and_any_process_cancels(clients: list[httpx.Client]) -> None:
    jobs = [begin_long(client)["id"] for client in clients]
    until(lambda: "running" in [told(clients[0], job)["state"] for job in jobs])
    states = [told(client, job)["state"] for client, job in zip(reversed(clients), jobs, strict=True)]
    assert sorted(states) == ["queued"] * (MANY - 1) + ["running"]
    first = next(job for job, state in zip(jobs, states, strict=True) if state == "running")
    assert {client.get(f"/api/jobs/{first}/result").status_code for client in clients} == {409}
    refused = [begin_long(client)["id"] for client in clients[: queue.MAX_WAITING - MANY + 1]]
    assert {
        client.post("/api/jobs", json={"model": "dreamer", "images": [IMAGE]}).status_code for client in clients
    } == {429}
    for client, job in zip(reversed(clients), jobs, strict=True):
        assert client.delete(f"/api/jobs/{job}").status_code == 200
    for job in refused:
        clients[0].delete(f"/api/jobs/{job}")
    for client, job in zip(clients, jobs, strict=True):
        assert list(events(client, job))[-1]["state"] == "cancelled"


def test_a_job_whose_process_died_is_told_as_failed(server: Server, clients: list[httpx.Client]) -> None:
    ended = begin(clients[0], iterations=1)["id"]
    until(lambda: told(clients[0], ended)["state"] == "done")
    picture = clients[0].get(f"/api/jobs/{ended}/result").content
    lost = begin_long(clients[0])["id"]
    until(lambda: told(clients[0], lost)["step"] > 0)
    victims = workers(server.process)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(workers(server.process)) - set(victims)) == 2)

    def states() -> tuple[str, str]:
        try:
            with httpx.Client(base_url=server.http, trust_env=False, timeout=60) as client:
                return told(client, ended)["state"], told(client, lost)["state"]
        except httpx.TransportError:  # nobody listens yet
            return "", ""

    until(lambda: states() == ("done", "failed"))
    with httpx.Client(base_url=server.http, trust_env=False, timeout=60) as client:
        assert "died" in told(client, lost)["error"]["message"]
        assert client.get(f"/api/jobs/{lost}/result").status_code == 500
        assert np.array_equal(decode_image(client.get(f"/api/jobs/{ended}/result").content), decode_image(picture))
        assert list(events(client, begin(client, iterations=1)["id"]))[-1]["state"] == "done"  # the turn is free

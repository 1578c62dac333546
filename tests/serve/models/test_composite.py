"""Composites in the server: they share their members, wait for them, and say what they lack."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import time
import weakref
from pathlib import Path

import httpx
import numpy as np
import pytest
from msgspec.structs import replace

from bookserve.client import connect
from bookserve.errors import Failed, InvalidInput, NotReady
from bookserve.graph import Arrays, Graph
from bookserve.verb import plain_answers
from serve.batching.request_context import CURRENT, DeadlineExceeded, RequestContext
from serve.batching.request_queue import OnResult
from serve.engine import Engine
from serve.models.composite import Composite
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from tests.composites import ROW, chain, member, write_composite
from tests.serve.models.versions import opened
from tests.servers import GRPC_SERVERS, start

X = {"x": np.array([[0, 1, 2]], np.float32)}


@pytest.fixture
def home(models: Path, tmp_path: Path) -> Path:
    """``affine``, and a composite of it that comes before it by name."""
    shutil.copytree(models / "affine", tmp_path / "affine")
    write_composite(tmp_path, "a_chain", chain())
    return tmp_path


class Echo:
    """Gives back what it is given."""

    def warm_up(self, feeds: Arrays) -> None:
        pass

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        return {"y": feeds["x"]}

    def submit(self, feeds: Arrays, rows: int, call: RequestContext, done: OnResult) -> None:
        done({"y": feeds["x"]})

    def close(self) -> None:
        pass


async def ask(repository: Repository, name: str = "a_chain", x: np.ndarray = X["x"]) -> list[list[float]]:
    engine = Engine(repository, Metrics())
    outputs = await engine.run(engine.model(name), "", {"x": x})
    return outputs["y"].tolist()  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("grpc_server", GRPC_SERVERS)
def test_it_is_asked_like_any_other_model(home: Path, grpc_server: str) -> None:
    rows = [[0, 1, 2], [3, 4, 5]]
    expected = [[3, 7, 11], [15, 19, 23]]
    infer = {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": rows}]}
    with start(home, "--grpc-server", grpc_server) as server, httpx.Client(base_url=server.http) as http:
        assert http.post("/v1/models/a_chain:predict", json={"instances": rows}).json() == {"predictions": expected}
        answer = http.post("/v2/models/a_chain/infer", json=infer).json()
        assert answer["outputs"][0]["data"] == [3, 7, 11, 15, 19, 23]
        assert http.get("/v2/models/a_chain").json()["platform"] == "ensemble"
        for url in (server.http, server.grpc, f"local:{home}"):
            with connect(url) as client:
                assert plain_answers(client.predict("a_chain", rows)) == [{"y": row} for row in expected]
        metrics = http.get("/metrics").text
    assert 'bookserve_requests_total{code="ok",graph="serving_default",model="a_chain"' in metrics
    assert 'bookserve_requests_total{code="ok",graph="serving_default",model="affine"' not in metrics


def test_its_members_run_together_with_what_they_are_asked_themselves(home: Path) -> None:
    metrics = Metrics()
    repository = Repository(home, metrics)
    repository.load()
    engine = Engine(repository, metrics)

    async def scenario() -> None:
        before = dict(engine.counted(engine.model("affine")).runs)
        asked = [engine.run(engine.model(name), "", X) for name in ("a_chain", "affine") * 5]
        answers = await asyncio.gather(*asked)
        assert [answer["y"].tolist() for answer in answers] == [[[3, 7, 11]], [[1, 3, 5]]] * 5
        runs = engine.counted(engine.model("affine")).runs
        assert {rows: counted.count for rows, counted in runs.items() if rows not in before} == {10: 1, 5: 1}

    asyncio.run(scenario())


def test_large_requests_are_split_by_its_members(home: Path) -> None:
    x = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    assert asyncio.run(ask(opened(home), x=x)) == (4 * x + 3).tolist()


def test_it_waits_for_its_members(home: Path, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(home / "affine")
    with caplog.at_level(logging.WARNING, "bookserve"):
        repository = opened(home)
        repository.refresh()
        repository.refresh()
    (told,) = caplog.messages
    assert "a_chain" in told
    assert "'affine/1'" in told
    (status,) = repository.status("a_chain")
    assert (status.state, "'affine/1'" in status.error) == ("END", True)
    with pytest.raises(NotReady, match="affine"):
        repository.find("a_chain")
    shutil.copytree(models / "affine", home / "affine")
    repository.refresh()
    assert repository.status("a_chain")[0].state == "AVAILABLE"
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]


def test_whoever_asks_is_told_which_member_has_gone(home: Path) -> None:
    repository = opened(home)
    assert repository.find("a_chain").is_whole()
    repository.unload("affine")
    assert not repository.find("a_chain").is_whole()
    with pytest.raises(NotReady, match="the model is made of 'affine/1'"):
        asyncio.run(ask(repository))
    repository.load("affine")
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]


def test_its_memory_is_free_at_once_when_it_is_let_go(home: Path) -> None:
    repository = opened(home)
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]
    held = repository.find("a_chain").batchers
    assert held
    graph = weakref.ref(held["serving_default"])
    del held
    gc.disable()
    try:
        repository.unload("a_chain")
        assert graph() is None
    finally:
        gc.enable()


@pytest.mark.slow
def test_readiness_counts_the_members(home: Path) -> None:
    with start(home, "--model-control") as server, httpx.Client(base_url=server.http) as http:
        assert http.get("/v2/models/a_chain/ready").status_code == 200
        assert http.post("/v2/repository/models/affine/unload").status_code == 200
        assert http.get("/v2/models/a_chain/ready").status_code == 503
        refused = http.post("/v1/models/a_chain:predict", json={"instances": [[0, 1, 2]]})
        assert (refused.status_code, "affine/1" in refused.json()["error"]) == (503, True)


def test_it_keeps_to_the_versions_it_was_made_of(home: Path) -> None:
    shutil.copytree(home / "affine/1", home / "affine/2")
    (home / "affine/2/model.onnx").write_bytes(b"broken")
    repository = opened(home)
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]
    shutil.rmtree(home / "affine/2")
    shutil.copytree(home / "affine/1", home / "affine/3")
    repository.refresh()
    assert repository.find("affine").version == 3
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]


@pytest.mark.parametrize("most", [0, 1])
def test_it_is_loaded_on_demand_with_its_members(home: Path, most: int) -> None:
    repository = opened(home, lazy=True, most=most)
    assert [model.name for model in repository.models() if model.batchers] == []
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]


def test_another_model_under_a_member_s_name_is_refused(home: Path, models: Path) -> None:
    shutil.rmtree(home / "affine")
    shutil.copytree(models / "pair", home / "affine")
    (status,) = opened(home).status("a_chain")
    assert "another graph now" in status.error


def test_a_composite_of_a_composite_is_refused(home: Path) -> None:
    write_composite(home, "b_chain", chain("a_chain"))
    write_composite(home, "c_chain", chain("c_chain"))
    repository = opened(home)
    assert "another graph now" in repository.status("b_chain")[0].error
    assert "c_chain" in repository.status("c_chain")[0].error


def test_what_a_member_refuses_is_told_with_its_name(home: Path) -> None:
    write_composite(home, "wide", chain(columns="columns"))
    repository = opened(home)
    with pytest.raises(InvalidInput, match=r"member 'affine/1'.*shape \[1, 4\]"):
        asyncio.run(ask(repository, "wide", np.zeros((1, 4), np.float32)))
    assert asyncio.run(ask(repository, "wide")) == [[3, 7, 11]]


def test_what_its_own_graphs_are_given_is_checked_too() -> None:
    """Rows that do not fit would spoil the run that they share with others."""
    own = Graph(inputs={"x": ROW}, outputs={"y": ROW}, onnx="f.onnx")
    graph = replace(chain(columns="columns"), members=(member("f", "x", "y"),))
    composite = Composite(graph, {"f": own}, {"f": Echo()}, lambda name, version: pytest.fail("nobody else is asked"))
    assert asyncio.run(composite.run(X, 1)) == {"y": X["x"]}
    with pytest.raises(InvalidInput, match=r"member 'f'.*shape \[1, 4\]"):
        asyncio.run(composite.run({"x": np.zeros((1, 4), np.float32)}, 1))


def test_a_member_that_breaks_breaks_the_whole_and_nobody_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = opened(home)
    affine = repository.find("affine")

    async def broken(*_: object) -> None:
        raise Failed("it broke.")

    async def scenario() -> None:
        with pytest.raises(Failed, match="it broke"):
            await ask(repository)

    with monkeypatch.context() as patched:
        patched.setattr(affine, "run", broken)
        asyncio.run(scenario())
    assert asyncio.run(ask(repository)) == [[3, 7, 11]]


def test_work_that_nobody_waits_for_is_not_begun(home: Path) -> None:
    repository = opened(home)

    async def scenario() -> None:
        CURRENT.set(RequestContext(deadline=time.perf_counter() - 1))
        with pytest.raises(DeadlineExceeded):
            await ask(repository)

    asyncio.run(scenario())

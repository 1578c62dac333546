"""Models that are loaded when first run, and no more of them in memory than allowed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import NotReady
from serve.engine import Engine
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics

X = {"x": np.array([[0, 1, 2]], np.float32)}
COUNT = 30


@pytest.fixture
def many(models: Path, tmp_path: Path) -> Path:
    for number in range(COUNT):
        shutil.copytree(models / "affine", tmp_path / f"m{number:02}")
    return tmp_path


def opened(home: Path, most: int = 0) -> tuple[Repository, Engine]:
    repository = Repository(home, Metrics(), options=LoadOptions(lazy=True, max_loaded=most))
    repository.load()
    return repository, Engine(repository, Metrics())


def in_memory(repository: Repository) -> list[str]:
    return [model.name for model in repository.models() if model.batchers is not None]


async def ask(engine: Engine, name: str) -> list[float]:
    outputs = await engine.run(engine.model(name), "", X)
    return outputs["y"].ravel().tolist()  # type: ignore[no-any-return]


def test_nothing_is_loaded_before_it_is_asked(many: Path) -> None:
    repository, engine = opened(many)
    assert len(repository.models()) == COUNT
    assert in_memory(repository) == []
    assert asyncio.run(ask(engine, "m07")) == [1, 3, 5]
    assert in_memory(repository) == ["m07"]


def test_the_least_recently_used_make_room(many: Path) -> None:
    async def scenario() -> None:
        for name in ("m00", "m01", "m02", "m00", "m03"):
            assert await ask(engine, name) == [1, 3, 5]
            assert len(in_memory(repository)) <= 3

    repository, engine = opened(many, most=3)
    asyncio.run(scenario())
    assert in_memory(repository) == ["m00", "m02", "m03"]


def test_all_at_once_are_answered_even_if_only_one_may_be_in_memory(many: Path) -> None:
    async def scenario() -> list[list[float]]:
        names = [f"m{number % COUNT:02}" for number in range(COUNT * 4)]
        return await asyncio.gather(*(ask(engine, name) for name in names))

    repository, engine = opened(many, most=1)
    assert asyncio.run(scenario()) == [[1, 3, 5]] * COUNT * 4
    assert len(in_memory(repository)) == 1


def test_many_who_ask_for_one_load_it_once(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        first = asyncio.ensure_future(ask(engine, "m00"))
        await asyncio.sleep(0)
        first.cancel()  # whoever began it leaving does not spoil it
        assert await asyncio.gather(*(ask(engine, "m00") for _ in range(20))) == [[1, 3, 5]] * 20

    repository, engine = opened(many)
    model = repository.find("m00")
    opens: list[int] = []
    real = model.open
    monkeypatch.setattr(model, "open", lambda: (opens.append(1), real())[1])
    asyncio.run(scenario())
    assert opens == [1]


def test_one_that_cannot_be_loaded_says_so_and_is_not_tried_again(many: Path) -> None:
    (many / "m00/1/model.onnx").write_bytes(b"broken")
    repository, engine = opened(many)
    for _ in range(2):
        with pytest.raises(NotReady, match=r"model\.onnx"):
            asyncio.run(ask(engine, "m00"))
    status = repository.status("m00")[0]
    assert status.state == "END"
    assert "model.onnx" in status.error
    shutil.copy(many / "m01/1/model.onnx", many / "m00/1/model.onnx")
    repository.refresh()
    assert asyncio.run(ask(engine, "m00")) == [1, 3, 5]


def test_an_unloaded_one_is_not_kept(many: Path) -> None:
    repository, engine = opened(many)
    asyncio.run(ask(engine, "m00"))
    repository.unload("m00")
    assert [status.state for status in repository.status("m00")] == ["END"]


def test_hits_loads_and_evictions_are_counted(many: Path) -> None:
    async def scenario() -> None:
        for name in ("m00", "m01", "m00", "m02", "m01"):
            await ask(engine, name)

    metrics = Metrics()
    repository = Repository(many, metrics, options=LoadOptions(lazy=True, max_loaded=2))
    repository.load()
    engine = Engine(repository, metrics)
    asyncio.run(scenario())
    lines = metrics.expose()[0].decode().splitlines()
    assert 'bookserve_model_cache_requests_total{result="hit"} 1.0' in lines
    assert 'bookserve_model_cache_requests_total{result="miss"} 4.0' in lines
    assert "bookserve_model_cache_evictions_total 2.0" in lines
    assert 'bookserve_model_cache_load_seconds_count{code="ok"} 4.0' in lines

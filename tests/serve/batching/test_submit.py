"""Requests without a task: they are answered as ``run`` answers, and their end is told once, whatever it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.errors import BookserveError, Failed, InvalidInput, Overloaded
from bookserve.graph import Arrays
from serve.batching.batcher import Batcher
from serve.batching.request_context import ClientDisconnected, DeadlineExceeded, RequestContext
from serve.engine import Engine
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from tests.serve.batching.doubling import make, rows


async def told(batcher: Batcher, *asked: tuple[Arrays, RequestContext]) -> list[Any]:
    """What each of several requests of one turn is told: the outputs as a list, or the error."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Arrays | BookserveError]] = [loop.create_future() for _ in asked]
    for (feeds, call), future in zip(asked, futures, strict=True):
        batcher.submit(feeds, len(feeds["x"]), call, future.set_result)
        assert not future.done()
    results = await asyncio.wait_for(asyncio.gather(*futures), 30)
    return [end if isinstance(end, BookserveError) else end["y"][:, 0].tolist() for end in results]


def test_requests_of_one_turn_run_together_with_those_of_tasks() -> None:
    async def scenario() -> tuple[list[Any], Arrays]:
        others = asyncio.ensure_future(batcher.run(rows(7), 1))
        await asyncio.sleep(0)
        return await told(batcher, *((rows(*range(n)), RequestContext()) for n in range(1, 9))), await others

    backend, batcher, _ = make(max_rows=64)
    answers, other = asyncio.run(scenario())
    assert answers == [[2.0 * value for value in range(n)] for n in range(1, 9)]
    assert other["y"].tolist() == [[14.0]]
    assert backend.batches == [37]


def test_a_bad_request_beside_good_ones() -> None:
    _, batcher, _ = make()
    good, bad, also_good = asyncio.run(told(batcher, *((rows(n), RequestContext()) for n in (1, -1, 2))))
    assert (good, also_good) == ([2.0], [4.0])
    assert isinstance(bad, Failed)


def test_a_large_request_is_run_in_pieces() -> None:
    backend, batcher, _ = make(max_rows=32)
    assert asyncio.run(told(batcher, (rows(*range(69)), RequestContext()))) == [[2.0 * n for n in range(69)]]
    assert sorted(backend.batches) == [5, 32, 32]
    (failed,) = asyncio.run(told(batcher, (rows(*range(-40, 0)), RequestContext())))
    assert isinstance(failed, Failed)


def test_who_left_and_who_is_late_are_told_so_and_not_run() -> None:
    calls = [RequestContext(gone=lambda: True), RequestContext(deadline=time.perf_counter() - 1), RequestContext()]
    backend, batcher, _ = make()
    left, late, stayed = asyncio.run(told(batcher, *((rows(n), call) for n, call in enumerate(calls))))
    assert (type(left), type(late), stayed) == (ClientDisconnected, DeadlineExceeded, [4.0])
    assert backend.batches == [1]


def test_a_full_queue_refuses_at_once() -> None:
    async def scenario() -> list[Any]:
        first = asyncio.ensure_future(told(batcher, (rows(1, 2, 3), RequestContext())))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            batcher.submit(rows(4, 5), 2, RequestContext(), lambda _: pytest.fail("told, though it was refused"))
        return await first

    _, batcher, _ = make(max_waiting=4)
    assert asyncio.run(scenario()) == [[2.0, 4.0, 6.0]]


def test_who_breaks_on_the_answer_costs_nobody_theirs(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> list[Any]:
        batcher.submit(rows(1), 1, RequestContext(), broken)
        batcher.submit(rows(2), 1, RequestContext(gone=lambda: True), broken)
        return [await told(batcher, (rows(3), RequestContext())), await told(batcher, (rows(4), RequestContext()))]

    def broken(_: Arrays | BookserveError) -> None:
        raise RuntimeError("it broke")

    _, batcher, _ = make()
    with caplog.at_level(logging.ERROR, "bookserve"):
        assert asyncio.run(scenario()) == [[[6.0]], [[8.0]]]
    assert caplog.text.count("an answer was lost") == 2


def opened(models: Path, lazy: bool = False) -> tuple[Engine, Metrics]:
    metrics = Metrics()
    repository = Repository(models, metrics, options=LoadOptions(lazy=lazy))
    repository.load()
    return Engine(repository, metrics), metrics


def counted(metrics: Metrics) -> list[str]:
    lines = metrics.expose()[0].decode().splitlines()
    return sorted(line for line in lines if line.startswith("bookserve_requests_total{"))


def test_the_engine_counts_them_as_those_of_tasks(models: Path) -> None:
    async def with_tasks(engine: Engine) -> None:
        for values in ([[1, 2, 3]], [[1, 2]], [[4, 5, 6]]):
            with contextlib.suppress(InvalidInput):
                await engine.run(engine.model("affine"), "", {"x": np.array(values, np.float32)})

    async def without(engine: Engine) -> list[Arrays | BookserveError]:
        ends: list[Arrays | BookserveError] = []
        for values in ([[1, 2, 3]], [[1, 2]], [[4, 5, 6]]):
            feeds = {"x": np.array(values, np.float32)}
            with contextlib.suppress(InvalidInput):
                assert engine.submit(engine.model("affine"), "", feeds, RequestContext(), ends.append)
        while len(ends) < 2:
            await asyncio.sleep(0)
        return ends

    usual, same = opened(models), opened(models)
    asyncio.run(with_tasks(usual[0]))
    ends = asyncio.run(without(same[0]))
    assert [end["y"].tolist() for end in ends if isinstance(end, dict)] == [[[3, 5, 7]], [[9, 11, 13]]]
    assert counted(usual[1]) == counted(same[1])
    assert [line.split()[-1] for line in counted(same[1])] == ["1.0", "2.0"]


def test_a_model_that_is_not_in_memory_is_left_to_tasks(models: Path) -> None:
    async def scenario() -> list[Arrays | BookserveError]:
        ends: list[Arrays | BookserveError] = []
        model, feeds = engine.model("affine"), {"x": np.array([[1, 2, 3]], np.float32)}
        assert not engine.submit(model, "", feeds, RequestContext(), ends.append)
        await engine.run(model, "", feeds)
        assert engine.submit(model, "", feeds, RequestContext(), ends.append)
        while not ends:
            await asyncio.sleep(0)
        return ends

    engine, _ = opened(models, lazy=True)
    (end,) = asyncio.run(scenario())
    assert isinstance(end, dict)
    assert end["y"].tolist() == [[3, 5, 7]]

"""Batcher: who runs together, who waits, and what a failure costs the neighbours."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from bookserve.errors import InvalidInput, Overloaded
from bookserve.graph import Arrays
from serve.batching import batcher as module
from tests.serve.batching.doubling import ALONE, ask, make, rows


def test_what_is_asked_in_one_turn_runs_in_one_batch_and_everybody_gets_their_own_rows() -> None:
    async def all_at_once() -> list[list[float]]:
        return await asyncio.gather(*(ask(batcher, rows(*range(n, n + n % 3 + 1))) for n in range(16)))

    backend, batcher, ran = make()
    answers = asyncio.run(all_at_once())
    assert answers == [[2.0 * value for value in range(n, n + n % 3 + 1)] for n in range(16)]
    assert len(backend.batches) == 1
    assert ran[0][0] == backend.batches[0] == sum(n % 3 + 1 for n in range(16))


@pytest.mark.parametrize(
    ("asked", "batching", "batches"),
    [
        ([8, 8, 8, 8, 8, 8], {}, [32, 16]),
        ([40, 1, 33, 2], {}, [40, 33, 3]),
        ([300, 1], {}, [256, 44, 1]),
        ([8, 8, 8, 8, 8, 8], {"max_rows": 256}, [48]),
        ([40, 1, 33, 2], {"max_rows": 256}, [76]),
        ([8, 8, 8], {"max_rows": 16}, [16, 8]),
    ],
)
def test_so_many_rows_are_enough_for_a_run(asked: list[int], batching: dict[str, int], batches: list[int]) -> None:
    async def all_at_once() -> list[list[float]]:
        return await asyncio.gather(*(ask(batcher, rows(*range(count))) for count in asked))

    backend, batcher, _ = make(**batching)
    assert asyncio.run(all_at_once()) == [[2.0 * value for value in range(count)] for count in asked]
    assert sorted(backend.batches) == sorted(batches)


def test_other_shapes_run_apart() -> None:
    async def both() -> list[list[float]]:
        return await asyncio.gather(*(ask(batcher, rows(n, width=1 + n % 2)) for n in range(10)))

    backend, batcher, _ = make()
    assert asyncio.run(both()) == [[2.0 * n] for n in range(10)]
    assert sorted(backend.batches) == [5, 5]


def test_graphs_without_a_batch_axis_run_one_by_one() -> None:
    async def both() -> list[Arrays]:
        feeds = {"x": np.ones(2, np.float32)}
        return await asyncio.gather(batcher.run(feeds, 1), batcher.run(feeds, 1))

    backend, batcher, _ = make(ALONE)
    assert [answer["y"].tolist() for answer in asyncio.run(both())] == [[2, 2], [2, 2]]
    assert len(backend.batches) == 2


def test_one_bad_row_does_not_fail_its_neighbours() -> None:
    async def mixed() -> list[list[float] | BaseException]:
        asked = (ask(batcher, rows(n)) for n in (1, -1, 2))
        return await asyncio.gather(*asked, return_exceptions=True)

    _, batcher, _ = make()
    good, bad, also_good = asyncio.run(mixed())
    assert (good, also_good) == ([2.0], [4.0])
    assert isinstance(bad, InvalidInput)


def test_large_requests_are_cut_and_put_together_again() -> None:
    backend, batcher, _ = make(max_rows=32)
    values = range(69)
    assert asyncio.run(ask(batcher, rows(*values))) == [2.0 * value for value in values]
    assert sorted(backend.batches) == [5, 32, 32]


def test_small_runs_stay_in_the_loop_and_slow_ones_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, batcher, _ = make()
    asyncio.run(ask(batcher, rows(1)))
    assert backend.threads == {threading.get_ident()}
    monkeypatch.setattr(module, "INLINE_SECONDS", 0.0)
    assert asyncio.run(ask(batcher, rows(1))) == [2.0]
    assert len(backend.threads) == 2
    batcher.close()


def test_while_one_batch_runs_the_next_one_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[list[float]]:
        backend.gate.clear()
        first = asyncio.ensure_future(ask(batcher, rows(0)))
        while batcher._thread is None:
            await asyncio.sleep(0)
        others = [asyncio.ensure_future(ask(batcher, rows(n))) for n in range(1, 6)]
        for _ in range(3):
            await asyncio.sleep(0)
        backend.gate.set()
        return list(await asyncio.gather(first, *others))

    backend, batcher, _ = make()
    asyncio.run(ask(batcher, rows(9)))  # so that the cost of a row is known
    monkeypatch.setattr(module, "INLINE_SECONDS", 0.0)
    assert asyncio.run(scenario()) == [[2.0 * n] for n in range(6)]
    assert backend.batches == [1, 1, 5]
    batcher.close()


def test_a_full_queue_turns_requests_away_and_recovers() -> None:
    async def flood() -> list[list[float] | BaseException]:
        return await asyncio.gather(*(ask(batcher, rows(n, n)) for n in range(4)), return_exceptions=True)

    _, batcher, _ = make(max_waiting=4)
    answers = asyncio.run(flood())
    assert answers[:2] == [[0.0, 0.0], [2.0, 2.0]]
    assert all(isinstance(answer, Overloaded) for answer in answers[2:])
    assert asyncio.run(ask(batcher, rows(*range(10)))) == [2.0 * n for n in range(10)]


def test_requests_given_up_are_not_run() -> None:
    async def leave() -> None:
        left = asyncio.ensure_future(ask(batcher, rows(1, 1, 1)))
        stayed = asyncio.ensure_future(ask(batcher, rows(2)))
        await asyncio.sleep(0)  # both have asked; the batch starts in a later turn
        left.cancel()
        assert await stayed == [4.0]

    backend, batcher, _ = make()
    asyncio.run(leave())
    assert backend.batches == [1]


def test_answers_leave_before_the_next_run() -> None:
    """A caller that wakes up and sends something at the end of its turn must not wait for a run of others."""

    async def in_turn() -> list[str]:
        events: list[str] = []
        loop = asyncio.get_running_loop()

        async def caller(name: str) -> None:
            await ask(batcher, rows(*range(32)))  # a run each
            events.append(f"{name} woke with {len(backend.batches)} run")
            loop.call_soon(lambda: events.append(f"{name} sent with {len(backend.batches)} run"))

        await asyncio.gather(caller("first"), caller("second"))
        await asyncio.sleep(0)
        return events

    backend, batcher, _ = make(max_rows=32)
    first, sent, *_ = asyncio.run(in_turn())
    assert first == "first woke with 1 run"
    assert sent == "first sent with 1 run"

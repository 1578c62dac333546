"""Batching: sizes, waits, lengths, priorities, deadlines, and who is dropped before anything runs for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bookserve.errors import Failed, Overloaded
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.steps import Numbers, Pad, Words
from bookserve.verb import Predict
from serve.batching import batcher as module
from serve.batching.batch_config import BatchConfig, Padding
from serve.batching.batcher import Batcher
from serve.batching.request_context import CURRENT, DeadlineExceeded, RequestContext, parse_priority
from tests.bundles import WORDS
from tests.serve.batching.doubling import Doubling, ask, make, rows


def set_call(**fields: Any) -> None:
    CURRENT.set(RequestContext(**fields))


async def asked(batcher: Batcher, feeds: Arrays, **fields: Any) -> list[float]:
    """Ask in a task of its own, whose call has these fields."""
    set_call(**fields)
    return await ask(batcher, feeds)


class Recording(Doubling):
    """Keeps the batches themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        self.seen.append(feeds["x"].copy())
        return super().run(feeds)


async def busy(backend: Doubling, batcher: Batcher) -> asyncio.Task[list[float]]:
    """A request that is being run, in its thread, until the gate opens."""
    backend.gate.clear()
    first = asyncio.ensure_future(ask(batcher, rows(0)))
    while batcher._thread is None:
        await asyncio.sleep(0)
    return first


@pytest.fixture
def in_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INLINE_SECONDS", -1.0)


def test_batches_are_filled_up_to_the_allowed_sizes() -> None:
    async def both() -> list[list[float]]:
        return await asyncio.gather(ask(batcher, rows(1, 2)), ask(batcher, rows(3)))

    backend, batcher, _ = make(max_rows=8, sizes=(2, 4, 8))
    assert asyncio.run(both()) == [[2.0, 4.0], [6.0]]
    assert asyncio.run(ask(batcher, rows(7))) == [14.0]
    assert asyncio.run(ask(batcher, rows(*range(11)))) == [2.0 * n for n in range(11)]
    assert backend.batches == [4, 2, 8, 4]


def test_filling_up_repeats_a_real_row_so_that_nothing_new_can_fail() -> None:
    backend = Recording()
    batcher = Batcher(make()[1]._graph, backend, lambda *_: None, batching=BatchConfig(max_rows=4, sizes=(4,)))
    asyncio.run(ask(batcher, rows(5, 6)))
    assert backend.seen[0].ravel().tolist() == [5, 6, 6, 6]


def test_a_delay_lets_others_join_and_a_full_batch_does_not_wait() -> None:
    async def one_after_the_other(count: int) -> float:
        start = time.perf_counter()
        tasks = []
        for n in range(count):
            tasks.append(asyncio.ensure_future(ask(batcher, rows(n))))
            await asyncio.sleep(0.002)
        assert await asyncio.gather(*tasks) == [[2.0 * n] for n in range(count)]
        return time.perf_counter() - start

    backend, batcher, _ = make(max_rows=4, max_delay=60.0)
    asyncio.run(one_after_the_other(4))  # full: it did not take a minute
    assert backend.batches == [4]
    backend, batcher, _ = make(max_rows=100, max_delay=0.2)
    asyncio.run(one_after_the_other(3))
    assert backend.batches == [3]


def test_what_is_urgent_runs_first(in_thread: None) -> None:
    async def scenario() -> None:
        first = await busy(backend, batcher)
        order = [("low", 1), ("normal", 2), ("high", 3), ("low", 4), ("normal", 5), ("high", 6)]
        tasks = [asyncio.ensure_future(asked(batcher, rows(n), priority=parse_priority(name))) for name, n in order]
        await asyncio.sleep(0.01)
        backend.gate.set()
        assert await asyncio.gather(first, *tasks) == [[0.0], *([2.0 * n] for _, n in order)]

    backend = Recording()
    batcher = Batcher(make()[1]._graph, backend, lambda *_: None, batching=BatchConfig(max_rows=2))
    asyncio.run(scenario())
    assert [batch.ravel().tolist() for batch in backend.seen] == [[0], [3, 6], [2, 5], [1, 4]]
    batcher.close()


def test_a_deadline_drops_work_before_it_runs(in_thread: None) -> None:
    async def scenario() -> list[Any]:
        first = await busy(backend, batcher)
        late = asyncio.ensure_future(asked(batcher, rows(1), deadline=time.perf_counter() + 0.01))
        patient = asyncio.ensure_future(asked(batcher, rows(2), deadline=time.perf_counter() + 60))
        await asyncio.sleep(0.05)
        backend.gate.set()
        return await asyncio.gather(first, late, patient, return_exceptions=True)

    backend, batcher, _ = make()
    answer, late, patient = asyncio.run(scenario())
    assert (answer, patient) == ([0.0], [4.0])
    assert isinstance(late, DeadlineExceeded)
    assert backend.batches == [1, 1]
    batcher.close()


def test_a_client_that_left_frees_its_place(in_thread: None) -> None:
    async def scenario() -> list[Any]:
        first = await busy(backend, batcher)
        left = [asyncio.ensure_future(asked(batcher, rows(n, n), gone=lambda: True)) for n in (1, 2)]
        cancelled = asyncio.ensure_future(ask(batcher, rows(9, 9)))
        await asyncio.sleep(0)
        cancelled.cancel()
        stays = asyncio.ensure_future(ask(batcher, rows(3, 3, 3, 3)))  # fits only once the others are gone
        await asyncio.sleep(0.01)
        backend.gate.set()
        return await asyncio.gather(first, stays, *left, return_exceptions=True)

    backend, batcher, _ = make(max_waiting=6)
    first, stays, *left = asyncio.run(scenario())
    assert (first, stays) == ([0.0], [6.0] * 4)
    assert all(isinstance(error, DeadlineExceeded) for error in left)
    assert backend.batches == [1, 4]
    batcher.close()


def test_a_full_queue_of_those_who_wait_still_refuses(in_thread: None) -> None:
    async def scenario() -> list[Any]:
        first = await busy(backend, batcher)
        tasks = [asyncio.ensure_future(ask(batcher, rows(n, n))) for n in (1, 2)]
        await asyncio.sleep(0.01)
        backend.gate.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    backend, batcher, _ = make(max_waiting=3)
    _, one, other = asyncio.run(scenario())
    assert one == [2.0, 2.0]
    assert isinstance(other, Overloaded)
    batcher.close()


def test_a_flooded_model_does_not_starve_its_neighbour() -> None:
    """Both run in the event loop; the neighbour's one request is answered after at most two of the flood's runs."""

    async def scenario() -> int:
        flood = [asyncio.ensure_future(ask(one, rows(n))) for n in range(200)]
        await asyncio.sleep(0)
        await ask(other, rows(1))
        ran = len(flooded.batches)
        await asyncio.gather(*flood)
        return ran

    flooded, one, _ = make(max_rows=1)
    _, other, _ = make()
    one._seconds_per_row = other._seconds_per_row = 1e-9
    assert asyncio.run(scenario()) <= 3
    assert len(flooded.batches) == 200


def test_a_backend_that_breaks_in_an_unforeseen_way_does_not_stop_the_next_run() -> None:
    class Breaking(Doubling):
        def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
            if len(feeds["x"]) == 3:
                raise MemoryError("no room")
            return super().run(feeds)

    batcher = Batcher(make()[1]._graph, Breaking(), lambda *_: None)
    with pytest.raises(Failed) as caught:
        asyncio.run(ask(batcher, rows(1, 2, 3)))
    assert "room" not in str(caught.value)
    assert asyncio.run(ask(batcher, rows(1))) == [2.0]


SEQUENCES = Graph(
    inputs={"x": TensorSpec("int32", ("batch", "time"))}, outputs={"y": TensorSpec("int32", ("batch", 1))}
)
PADDED = Predict(inputs={"x": (Words(WORDS), Pad(12, value=7))}, outputs={"y": ()})


class Reading(Recording):
    """Gives the last id of each sequence."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        self.seen.append(feeds["x"].copy())
        return {"y": feeds["x"][:, -1:]}


def test_sequences_are_padded_in_front_as_the_steps_pad_and_run_together() -> None:
    async def several() -> list[Arrays]:
        lengths = (3, 4, 5, 7, 8, 9, 11, 12)
        sequences = [np.arange(1, n + 1, dtype=np.int32)[None] for n in lengths]
        return await asyncio.gather(*(batcher.run({"x": one}, 1) for one in sequences))

    backend = Reading()
    batcher = Batcher(SEQUENCES, backend, lambda *_: None, padding=Padding.of(PADDED, SEQUENCES))
    answers = asyncio.run(several())
    assert [int(answer["y"][0, 0]) for answer in answers] == [3, 4, 5, 7, 8, 9, 11, 12]
    assert [batch.shape for batch in backend.seen] == [(2, 4), (3, 8), (3, 12)]
    assert backend.seen[0][0].tolist() == [7, 1, 2, 3]
    assert backend.seen[2][0].tolist() == [7, 7, 7, *range(1, 10)]


def test_only_what_the_steps_pad_is_padded() -> None:
    plain = Predict(inputs={"x": (Numbers("int32", (-1,)),)}, outputs={"y": ()})
    assert Padding.of(plain, SEQUENCES) is None
    fixed = Graph(inputs={"x": TensorSpec("int32", ("batch", 12))}, outputs=SEQUENCES.outputs)
    assert Padding.of(PADDED, fixed) is None
    repeated = Graph(inputs=SEQUENCES.inputs, outputs={"y": TensorSpec("int32", ("batch", "time"))})
    assert Padding.of(PADDED, repeated) is None


def test_waits_are_told_for_each_request() -> None:
    async def both() -> None:
        await asyncio.gather(ask(batcher, rows(1)), ask(batcher, rows(2, 3)))

    waits: list[list[float]] = []
    batcher = Batcher(make()[1]._graph, Doubling(), lambda *_: None, waits.append)
    asyncio.run(both())
    assert [len(batch) for batch in waits] == [2]
    assert all(wait >= 0 for wait in waits[0])

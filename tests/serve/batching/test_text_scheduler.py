"""Texts that advance together: they join and leave between runs, write what they write alone, and give way at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve import bundle
from bookserve.api.requests import GenerateRequest
from bookserve.bundle import MULTI_STEP
from bookserve.errors import Failed, InvalidInput, Overloaded
from bookserve.generation.text import Piece, join_pieces, text_streams
from bookserve.graph import Arrays
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate
from serve.batching import text_scheduler as texts
from serve.batching.request_context import CURRENT, RequestContext
from serve.batching.text_scheduler import MAX_LIVE, WHOLE, TextScheduler, collect_texts
from serve.models.live_model import LiveModel
from serve.observability.metrics import Metrics


class Runner:
    """Runs the graphs of ``writer`` and notes how many rows each run had."""

    def __init__(self, models: Path) -> None:
        self.bundle = bundle.open_bundle(models, "writer")
        self.verb = self.bundle.verb(Generate)
        self.backends = {
            name: OnnxSession(self.bundle.path / str(graph.onnx)) for name, graph in self.bundle.runnable.items()
        }
        self.rows: list[tuple[str, int]] = []
        self.broken = ""
        texts = TextScheduler.of(self.bundle)
        assert texts
        self.texts = texts

    async def run(self, graph: str, feeds: Arrays, rows: int) -> Arrays:
        await asyncio.sleep(0)
        if graph == self.broken:
            raise Failed("it broke.")
        assert self.bundle.runnable[graph].check(feeds) == rows
        self.rows.append((graph, rows))
        return self.backends[graph].run(feeds)

    def write(self, request: GenerateRequest, pause: float = WHOLE) -> AsyncGenerator[list[Piece]]:
        return self.texts.write(request, self.run, pause)

    async def text(self, request: GenerateRequest) -> str:
        return (await collect_texts(self.write(request), 1))[0].text

    def alone(self, request: GenerateRequest) -> str:
        (stream,) = text_streams(self.verb, self.bundle.manifest.graphs["step"], request)
        return join_pieces(list(stream.write(self.backends["step"].run))).text


@pytest.fixture
def runner(models: Path) -> Runner:
    return Runner(models)


def asked(seed: int, **more: Any) -> GenerateRequest:
    fields = {"prompt": "abcde"[: seed % 5 + 1], "length": 40 + seed, "temperature": 1.0, "seed": seed}
    return GenerateRequest(**fields | more)


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_one_among_64_others_writes_what_it_writes_alone(runner: Runner) -> None:
    requests = [asked(seed, temperature=(0.0, 0.5, 1.0, 3.0)[seed % 4]) for seed in range(60)]
    requests += [asked(60, top_k=2), asked(61, top_p=0.5), asked(62, mode="window"), asked(63, logprobs=2)]
    requests += [asked(64, stop=["ab"])]

    async def together() -> list[str]:
        return await asyncio.gather(*map(runner.text, requests))

    assert finish(together()) == [runner.alone(request) for request in requests]
    assert max(rows for graph, rows in runner.rows if graph == MULTI_STEP) > 50  # they did share runs
    assert runner.texts.live == 0


def test_texts_join_and_leave_between_runs(runner: Runner) -> None:
    async def staggered() -> list[str]:
        first = asyncio.create_task(runner.text(asked(1, length=400)))
        while (MULTI_STEP, 1) not in runner.rows:
            await asyncio.sleep(0)
        second = asyncio.create_task(runner.text(asked(2, length=40)))
        return [await first, await second]

    assert finish(staggered()) == [runner.alone(asked(1, length=400)), runner.alone(asked(2, length=40))]
    ahead = [rows for graph, rows in runner.rows if graph == MULTI_STEP]
    assert 2 in ahead
    assert ahead[0] == ahead[-1] == 1  # the first was there before and after


def test_the_texts_of_one_request_read_its_prompt_once(runner: Runner) -> None:
    options: dict[str, Any] = {"prompt": "abcd", "length": 43, "temperature": 1.0}
    texts = finish(collect_texts(runner.write(GenerateRequest(**options, seed=3, n=5)), 5))
    assert [text.text for text in texts] == [runner.alone(GenerateRequest(**options, seed=3 + i)) for i in range(5)]
    assert runner.rows.count(("step", 1)) == 1
    assert [text.index for text in texts] == list(range(5))
    assert all(text.finish == "length" for text in texts)


def test_prompts_that_were_read_lately_are_not_read_again(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "PROMPTS", 2)
    read = []
    for seed, prompt in enumerate(("ab", "cd", "ab", "ea", "ab", "cd")):
        for more in ({}, {"logprobs": 1}, {"mode": "window"}):
            request = asked(seed, prompt=prompt, length=1, **more)
            assert finish(runner.text(request)) == runner.alone(request)
        whole = asked(seed, prompt=prompt)
        assert finish(runner.text(whole)) == runner.alone(whole)
        read.append(runner.rows.count(("step", 1)))
    assert read == [1, 2, 2, 3, 3, 4]  # "cd" had to make room


def busy(turns: int) -> asyncio.Task[None]:
    """Something that fills so many turns of the event loop."""

    async def work() -> None:
        for _ in range(turns):
            time.sleep(2 * texts.IDLE)
            await asyncio.sleep(0)

    return asyncio.create_task(work())


def test_texts_under_way_let_others_go_first(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "PATIENCE", 3600)

    async def others() -> tuple[int, int]:
        writing = asyncio.create_task(runner.text(asked(1, length=10_000)))
        while runner.rows.count((MULTI_STEP, 1)) < 3:
            await asyncio.sleep(0)
        before = len(runner.rows)
        await busy(30)
        between = len(runner.rows)
        assert await writing == runner.alone(asked(1, length=10_000))
        return before, between

    before, between = finish(others())
    assert between <= before + 1  # that which had begun


def test_texts_go_on_though_others_never_rest(runner: Runner) -> None:
    async def hogged() -> str:
        hog = busy(10**6)
        try:
            return await runner.text(asked(1, length=100))
        finally:
            hog.cancel()

    assert finish(hogged()) == runner.alone(asked(1, length=100))


def test_the_first_character_does_not_wait(runner: Runner) -> None:
    async def first() -> list[Piece]:
        async with aclosing(runner.write(asked(1, length=100), 3600)) as written:
            return await anext(written)

    (piece,) = finish(first())
    assert len(piece.text) == 1


@pytest.mark.parametrize("more", [{}, {"mode": "window"}])
def test_a_text_that_is_given_up_frees_its_place_at_once(runner: Runner, more: dict[str, Any]) -> None:
    async def give_up() -> None:
        async with aclosing(runner.write(asked(1, length=100_000, n=3, **more), 0)) as written:
            for _ in range(5):
                await anext(written)
            assert runner.texts.live == 3
        assert runner.texts.live == 0
        for _ in range(5):
            await asyncio.sleep(0)
        runs = len(runner.rows)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(runner.rows) == runs  # nothing goes on in the background

    finish(give_up())


def test_cancelling_one_leaves_the_others_alone(runner: Runner) -> None:
    async def cancel() -> str:
        others = asyncio.create_task(runner.text(asked(2, length=900)))
        doomed = asyncio.create_task(runner.text(asked(1, length=100_000)))
        while (MULTI_STEP, 2) not in runner.rows:
            await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert runner.texts.live == 1
        return await others

    assert finish(cancel()) == runner.alone(asked(2, length=900))


def test_the_others_go_on_when_the_client_that_began_leaves(models: Path) -> None:
    """The runs that they share must not be dropped as work of somebody who has left, or whose time is over."""
    live = LiveModel(bundle.open_bundle(models, "writer"), Metrics())
    live.open()
    texts = live.texts
    assert texts

    async def leave() -> str:
        left, joined = asyncio.Event(), asyncio.Event()

        async def write(call: RequestContext, request: GenerateRequest, until: int, reached: asyncio.Event) -> str:
            CURRENT.set(call)
            read = ""
            async with aclosing(texts.write(request, live.run, 0)) as written:
                async for (piece,) in written:
                    read += piece.text
                    if len(read) > until:
                        reached.set()
            return read

        began = asyncio.Event()
        first = asyncio.create_task(write(RequestContext(gone=left.is_set), asked(1, length=100_000), 1, began))
        await began.wait()
        second = asyncio.create_task(write(RequestContext(), asked(2, length=2000), 1, joined))
        await joined.wait()
        left.set()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert finish(leave()) == Runner(models).alone(asked(2, length=2000))


def test_a_graph_that_breaks_ends_all_its_texts_and_the_next_ones_are_written(runner: Runner) -> None:
    async def broken() -> list[Any]:
        runner.broken = MULTI_STEP
        return await asyncio.gather(*(runner.text(asked(seed)) for seed in range(3)), return_exceptions=True)

    assert [str(error) for error in finish(broken())] == ["it broke."] * 3
    assert runner.texts.live == 0
    runner.broken = ""
    assert finish(runner.text(asked(1))) == runner.alone(asked(1))


def test_too_many_texts_are_turned_away(runner: Runner) -> None:
    async def crowd() -> None:
        written = [runner.write(asked(i, n=128, length=500), 0) for i in range(MAX_LIVE // 128)]
        for pieces in written:
            await anext(pieces)
        with pytest.raises(Overloaded, match="1,024"):
            runner.write(asked(0))
        for pieces in written:
            await pieces.aclose()
        assert runner.texts.live == 0
        await runner.text(asked(0))

    finish(crowd())


def test_a_prompt_that_does_not_fit_is_refused_at_the_call(runner: Runner) -> None:
    with pytest.raises(InvalidInput, match="does not know"):
        runner.write(asked(0, prompt="xyz"))
    assert runner.texts.live == 0


def test_many_rows_are_told_apart(runner: Runner) -> None:
    """Every text gets the row of the batch that is its own."""
    requests = [asked(i, temperature=0.0, prompt="abcde"[i % 5], length=20) for i in range(25)]

    async def together() -> list[str]:
        return await asyncio.gather(*map(runner.text, requests))

    for index, text in enumerate(finish(together())):
        assert text == "".join(np.roll(list("abcde"), -(index % 5) - 1)) * 4

"""The client for asyncio: the same answers and errors as the other one, streams, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.client import Client, connect_async
from bookserve.errors import InvalidInput
from bookserve.table import UNNAMED, Table
from bookserve.verb import plain_answers


def test_calls_at_the_same_time_answer_as_the_other_client_does(models: Path, local: Client) -> None:
    rows = np.arange(30.0).reshape(10, 3)

    async def ask() -> list[Any]:
        async with connect_async(f"local:{models}") as client:
            listed, *answers = await asyncio.gather(
                client.models(), *(client.predict("affine", rows[start : start + 2]) for start in range(0, 10, 2))
            )
            assert listed == local.models()
            with pytest.raises(InvalidInput, match="each row has shape"):
                await client.predict("affine", [[1, 2]])
            samples = await client.sample("plane", 3, seed=4)
            np.testing.assert_array_equal(samples.images, local.sample("plane", 3, seed=4).images)
            return [answer for part in answers for answer in part]

    assert plain_answers(asyncio.run(ask())) == plain_answers(local.predict("affine", rows))


def test_texts_and_answers_are_streams(models: Path, local: Client) -> None:
    options: dict[str, Any] = {"prompt": "abc", "length": 40, "seed": 3, "temperature": 1.5}

    async def ask() -> None:
        async with connect_async(f"local:{models}") as client:
            pieces = [piece async for piece in client.generate("writer", **options)]
            assert "".join(pieces) == "".join(local.generate("writer", **options))
            (text,) = await client.complete("writer", **options)
            assert text.text == "".join(pieces)
            answers = [answer async for answer in client.predict_each("affine", ([i, 0, 0] for i in range(3)))]
            assert [answer["y"][0] for answer in answers] == [1, 3, 5]  # type: ignore[index]
            tables = [Table({UNNAMED: np.full((2, 3), value)}) for value in (1.0, 2.0)]
            found = [part async for part in client.predict_parts("affine", tables)]
            assert [part[0]["y"][0] for part in found] == [3, 5]  # type: ignore[index]
            parts = [part.images async for part in client.sample_parts("plane", 300, seed=2)]
            assert [len(images) for images in parts] == [256, 44]
            np.testing.assert_array_equal(np.concatenate(parts), local.sample("plane", 300, seed=2).images)

    asyncio.run(ask())


def test_a_cancelled_stream_stops_waiting_and_is_closed() -> None:
    events: list[str] = []

    class Slow:
        def generate(self, *_: Any, **__: Any) -> Iterator[str]:
            try:
                yield "first"
                release.wait(10)
                yield "second"
                raise AssertionError("nobody asked for more")
            finally:
                events.append("closed")

        def close(self) -> None:
            events.append("client closed")

    import threading

    from bookserve.client.async_client import AsyncClient

    release = threading.Event()

    async def ask() -> None:
        client: Any = AsyncClient(Slow())  # type: ignore[arg-type]
        stream = client.generate("writer")
        assert await anext(stream) == "first"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(stream)
        assert events == []
        release.set()
        while not events:
            await asyncio.sleep(0.01)
        await client.close()

    asyncio.run(ask())
    assert events == ["closed", "client closed"]

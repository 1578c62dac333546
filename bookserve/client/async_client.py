"""The client for asyncio: ``connect_async``. It is ``Client`` with its calls in threads, so both do the same.

A task that is cancelled (``asyncio.timeout``, a task group) stops waiting at once. A text stops at its next piece; any
other request that was sent already goes on in its thread until it is answered or its ``timeout`` is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numpy as np

from bookserve.client.address import connect
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.client import Client, Samples
from bookserve.generation.explain import Explanation, Layer
from bookserve.generation.text import Piece
from bookserve.verb import Answer

#: Calls of one client that run at the same time; more wait.
MAX_CALLS = 32

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def connect_async(url: str | None = None, **options: Any) -> AsyncClient:
    """Return a client for asyncio. Arguments and errors are those of ``bookserve.client.connect``.

    Use it with ``async with connect_async(url) as client``.
    """
    return AsyncClient(connect(url, **options))


class AsyncClient:
    """The models at one address, for asyncio. ``Client`` explains the arguments, answers and errors of each method.

    >>> async def ask() -> None:
    ...     async with connect_async("local:pretrained") as client:
    ...         print(len(await client.models()) > 0)
    ...         films = ["a wonderful film", "a terrible, boring film"]
    ...         print((await client.predict("imdb_lstm", films)).columns()["probability"])
    ...         async for answer in client.predict_each("imdb_lstm", films):
    ...             print(answer["probability"][0].label)
    ...         async for answers in client.predict_parts("imdb_lstm", [films, films]):
    ...             print(len(answers))
    ...         asked = {"prompt": "the will to ", "length": 20, "temperature": 0}
    ...         print("".join([piece async for piece in client.generate("nietzsche_lstm", **asked)]))
    ...         print([piece.text async for piece in client.pieces("nietzsche_lstm", **asked)][0])
    ...         print((await client.complete("nietzsche_lstm", **asked))[0].finish)
    ...         print((await client.sample("mnist_vae", 4, seed=1)).images.shape)
    ...         async for part in client.sample_parts("mnist_vae", 300, seed=1):
    ...             print(len(part.images))
    ...         digit = Path("digit.png")
    ...         print((await client.explain("mnist_convnet", digit)).label)
    ...         print((await client.activations("mnist_convnet", digit))[0].name)
    ...         photo = Path("photo.png").read_bytes()
    ...         print((await client.transform("deepdream", [photo], params={"octaves": 1})).ndim)
    ...         try:
    ...             await client.filters("mnist_convnet")
    ...         except NotFound as error:
    ...             print(error.message)
    >>> asyncio.run(ask())
    True
    ['positive', 'negative']
    positive
    negative
    2
    2
    the most constitute
    t
    length
    (4, 28, 28, 1)
    256
    44
    7
    conv2d
    3
    model 'mnist_convnet' has no pictures of its filters.

    ``close`` is called at the end of the ``with`` block.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="bookserve")

    async def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``."""
        return await self._call(self._client.models)

    async def predict(self, model: str, rows: Any, version: int | None = None) -> Answers:
        """See ``Client.predict``."""
        return await self._call(self._client.predict, model, rows, version)

    def predict_each(self, model: str, rows: Any, version: int | None = None) -> AsyncGenerator[Answer]:
        """See ``Client.predict_each``; ``rows`` are read in a thread."""
        return self._stream(self._client.predict_each, model, rows, version)

    def predict_parts(
        self, model: str, parts: Iterable[Sequence[Any]], version: int | None = None
    ) -> AsyncGenerator[Answers | AnswerTable]:
        """See ``Client.predict_parts``; ``parts`` are read in a thread."""
        return self._stream(self._client.predict_parts, model, parts, version)

    def generate(self, model: str, prompt: str = "", **options: Any) -> AsyncGenerator[str]:
        """See ``Client.generate``: ``async for piece in client.generate(…)``."""
        return self._stream(partial(self._client.generate, model, prompt, **options))

    def pieces(self, model: str, **options: Any) -> AsyncGenerator[Piece]:
        """See ``Client.pieces``."""
        return self._stream(partial(self._client.pieces, model, **options))

    async def complete(self, model: str, **options: Any) -> list[Piece]:
        """See ``Client.complete``."""
        return await self._call(partial(self._client.complete, model, **options))

    async def sample(self, model: str, n: int | None = None, **options: Any) -> Samples:
        """See ``Client.sample``."""
        return await self._call(partial(self._client.sample, model, n, **options))

    def sample_parts(self, model: str, n: int | None = None, **options: Any) -> AsyncGenerator[Samples]:
        """See ``Client.sample_parts``: ``async for part in client.sample_parts(…)``."""
        return self._stream(partial(self._client.sample_parts, model, n, **options))

    async def transform(self, model: str, images: Sequence[bytes], **options: Any) -> np.ndarray:
        """See ``Client.transform``; ``tell`` is called in a thread."""
        return await self._call(partial(self._client.transform, model, images, **options))

    async def explain(self, model: str, row: Any, label: str | None = None, version: int | None = None) -> Explanation:
        """See ``Client.explain``."""
        return await self._call(self._client.explain, model, row, label, version)

    async def activations(self, model: str, row: Any, version: int | None = None) -> list[Layer]:
        """See ``Client.activations``."""
        return await self._call(self._client.activations, model, row, version)

    async def filters(self, model: str, version: int | None = None) -> list[Layer]:
        """See ``Client.filters``."""
        return await self._call(self._client.filters, model, version)

    async def close(self) -> None:
        """Close connections and sessions."""
        await self._call(self._client.close)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _call(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def _stream(self, function: Callable[..., Iterator[Result]], *args: Any) -> AsyncGenerator[Result]:
        """What the iterator of a call yields, each item fetched in a thread; the iterator is closed in the end."""
        items = await self._call(function, *args)
        fetching: asyncio.Future[list[Result]] | None = None
        try:
            while True:
                fetching = asyncio.ensure_future(self._call(_next, items))
                found = await asyncio.shield(fetching)
                if not found:
                    return
                yield found[0]
        finally:
            if fetching is not None and not fetching.done():
                # A running generator cannot be closed: that waits for the item that is being fetched.
                fetching.add_done_callback(partial(_close_after, items))
            else:
                await self._call(_close, items)


def _next(items: Iterator[Result]) -> list[Result]:
    """The next item alone in a list; an empty list at the end."""
    for item in items:
        return [item]
    return []


def _close_after(items: Any, fetched: asyncio.Future[Any]) -> None:
    if not fetched.cancelled():
        fetched.exception()  # nobody waits for it any more
    _close(items)


def _close(items: Any) -> None:
    if isinstance(items, Generator):
        items.close()

"""The server's HTTP application without a server: no process, no socket, no HTTP parser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from serve.app.http_app import http_application
from serve.engine import Engine
from serve.models.model_config import VersionPolicy
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics


class ApplicationTransport(httpx.BaseTransport):
    """Lets a synchronous ``httpx.Client`` ask an ASGI application that runs in an event loop of another thread."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._asgi.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        content = b"".join([part async for part in response.stream])
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(content))


@contextmanager
def application_client(models: Path, options: LoadOptions | None = None) -> Iterator[httpx.Client]:
    """A client of an application that serves ``models``. Streamed answers arrive when they are whole."""
    metrics = Metrics()
    served = options or LoadOptions(VersionPolicy(on_demand=True))
    repository = Repository(models, metrics, options=served)
    repository.load()
    engine = Engine(repository, metrics)
    engine.ready = True
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        transport = ApplicationTransport(http_application(engine, metrics), loop)
        with httpx.Client(transport=transport, base_url="http://application") as client:
            yield client
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        repository.close()

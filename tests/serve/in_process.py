"""The server in this process: its HTTP application without a socket and HTTP parser, and its builtin gRPC server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
from starlette.types import ASGIApp

from serve.app.grpc_app import Address, grpc_server
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
def running_engine(models: Path, options: LoadOptions | None = None) -> Iterator[tuple[Engine, Metrics, Any]]:
    """An engine that serves ``models``, what it counts, and the event loop that runs it in another thread."""
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
        yield engine, metrics, loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        repository.close()


@contextmanager
def application_client(models: Path, options: LoadOptions | None = None) -> Iterator[httpx.Client]:
    """A client of an application that serves ``models``. Streamed answers arrive when they are whole."""
    with running_engine(models, options) as (engine, metrics, loop):
        transport = ApplicationTransport(http_application(engine, metrics), loop)
        with httpx.Client(transport=transport, base_url="http://application") as client:
            yield client


@contextmanager
def grpc_channel(models: Path) -> Iterator[grpc.Channel]:
    """A channel to the builtin gRPC server in this process."""

    async def start(engine: Engine) -> tuple[Any, int]:
        server, port = grpc_server(engine, Address("127.0.0.1", 0))
        await server.start()
        return server, port

    with running_engine(models) as (engine, _, loop):
        server, port = asyncio.run_coroutine_threadsafe(start(engine), loop).result()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
                yield channel
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()

# ruff: noqa: TID253
"""Server: the life of ``bookserve serve`` – bind, load, answer, drain – in one process and one event loop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from bookserve.errors import Failed, NotFound
from serve import http, rpc
from serve.engine import Engine
from serve.metrics import Metrics
from serve.model import LiveModel
from serve.repository import Repository

#: Seconds that accepted requests have to finish once the server was told to stop.
GRACE = 30


class Ready(NamedTuple):
    """What to tell the user once requests are answered."""

    http: str
    grpc: str
    models: list[LiveModel]
    #: Versions that could not be loaded, in sentences.
    errors: list[str]


def run(models: Path, host: str, http_port: int, grpc_port: int, ready: Callable[[Ready], None]) -> None:
    """Serve ``models`` until SIGINT or SIGTERM, then finish what was accepted. ``ready`` is called once.

    Raises:
        NotFound: no such directory, or no models in it.
        Failed: an address is taken, or none of the models can be loaded.
    """
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows
        asyncio.run(_serve(models, host, http_port, grpc_port, ready))
    else:
        uvloop.run(_serve(models, host, http_port, grpc_port, ready))


async def _serve(models: Path, host: str, http_port: int, grpc_port: int, ready: Callable[[Ready], None]) -> None:
    metrics = Metrics()
    repository = Repository(models, metrics)
    engine = Engine(repository, metrics)
    with _listen(host, http_port) as listener:
        grpc_server, grpc_port = rpc.server(engine, host, grpc_port)
        repository.load()
        errors = [str(error) for error in repository.errors()]
        if not repository.models():
            if errors:
                raise Failed(f"none of the models in {models} can be loaded: {errors[0]}")
            raise NotFound(f"there are no models in '{models}'.", "Write bundles there with: bookserve export")
        web = _Web(
            uvicorn.Config(
                http.application(engine, metrics),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE,
            )
        )
        stop = asyncio.Event()
        _on_signals(stop, web)
        await grpc_server.start()
        serving = asyncio.create_task(web.serve([listener]))
        while not web.started and not serving.done():
            await asyncio.sleep(0.005)
        engine.ready = True
        shown = f"[{host}]" if ":" in host else host
        port = listener.getsockname()[1]
        ready(Ready(f"http://{shown}:{port}", f"grpc://{shown}:{grpc_port}", engine.models(), errors))
        await stop.wait()
        engine.ready = False
        web.should_exit = True
        await asyncio.gather(serving, grpc_server.stop(GRACE))
        repository.close()


class _Web(uvicorn.Server):
    """uvicorn without its own signal handlers: both servers must hear of the end at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _on_signals(stop: asyncio.Event, web: _Web) -> None:
    """The first signal drains; the second one ends at once."""
    loop = asyncio.get_running_loop()

    def stopped() -> None:
        if stop.is_set():
            web.force_exit = True
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped)


@contextmanager
def _listen(host: str, port: int) -> Iterator[Any]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Failed(
            f"the HTTP address {host}:{port} cannot be had: {reason}.", "Choose another: --http-port 0 finds one."
        ) from error
    with listener:
        yield listener

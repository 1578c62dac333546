# ruff: noqa: TID253
"""Server: the life of ``bookserve serve`` – bind, load, answer, drain – in one process and one event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette

from bookserve.errors import Failed, NotFound
from serve import http, rpc
from serve.control import DirectoryControl
from serve.doors import Doors
from serve.engine import Engine
from serve.express import Quick, either
from serve.limits import Limits
from serve.metrics import Metrics
from serve.model import LiveModel
from serve.protocol import Connection
from serve.repository import Repository
from serve.tfs import express as tfs
from serve.v2 import infer as v2

#: Seconds that accepted requests have to finish once the server was told to stop.
GRACE = 30
#: Seconds that an idle connection is kept: longer than common clients keep theirs, so that they end it, not we.
KEEP_ALIVE = 75

logger = logging.getLogger("bookserve")


class Ready(NamedTuple):
    """What to tell the user once requests are answered."""

    http: str
    grpc: str
    models: list[LiveModel]
    #: Versions that could not be loaded, in sentences.
    errors: list[str]


def run(models: Path, host: str, http_port: int, grpc_port: int, ready: Callable[[Ready], None], doors: Doors) -> None:
    """Serve ``models`` until SIGINT or SIGTERM, then finish what was accepted. ``ready`` is called once.

    Raises:
        NotFound: no such directory, or no models in it.
        Failed: an address is taken, or none of the models can be loaded.
    """
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows
        asyncio.run(_serve(models, host, http_port, grpc_port, ready, doors))
    else:
        uvloop.run(_serve(models, host, http_port, grpc_port, ready, doors))


async def _serve(
    models: Path, host: str, http_port: int, grpc_port: int, ready: Callable[[Ready], None], doors: Doors
) -> None:
    metrics = Metrics()
    repository = Repository(models, metrics)
    engine = Engine(repository, metrics)
    control = DirectoryControl(repository)
    stop = _on_signals()
    with _listen("HTTP", host, http_port) as listener, _listen_at(doors.http_socket) as local:
        port = listener.getsockname()[1]
        if grpc_port:
            _listen("gRPC", host, grpc_port).close()  # tells why an address cannot be had, which gRPC does not
        grpc_server, grpc_port = rpc.server(engine, host, grpc_port, doors, control)
        try:
            errors = await _load(repository, models)
            quick = either(tfs.quick(engine), v2.quick(engine, doors.limits))
            web = _web(http.application(engine, metrics, doors, control), quick, doors.limits)
            serving = asyncio.create_task(web.serve([listener, *local]))
            serving.add_done_callback(lambda _: stop.set())
            await grpc_server.start()
            engine.ready = True
            shown = f"[{host}]" if ":" in host else host
            ready(Ready(f"http://{shown}:{port}", f"grpc://{shown}:{grpc_port}", engine.models(), errors))
            await stop.wait()
            logger.info("stopping: accepted requests have %d s to finish; a second signal ends at once", GRACE)
            engine.ready = False
            web.should_exit = True
            await asyncio.gather(serving, grpc_server.stop(GRACE))
        finally:
            await grpc_server.stop(None)
            repository.close()
    logger.info("stopped")


async def _load(repository: Repository, models: Path) -> list[str]:
    """Load what can be loaded; why the rest cannot, in sentences."""
    await asyncio.to_thread(repository.load)  # in a thread, so that signals are heard
    errors = repository.errors()
    if not repository.models():
        if errors:
            raise Failed(f"none of the models in {models} can be loaded: {errors[0].message}", errors[0].hint)
        raise NotFound(f"there are no models in '{models}'.", "Write bundles there with: bookserve export")
    return [str(error) for error in errors]


def _web(app: Starlette, quick: Quick, limits: Limits) -> uvicorn.Server:
    return _Web(
        uvicorn.Config(
            app,
            http=Connection.limited(limits, quick),
            log_config=None,
            log_level="critical",  # the application logs its own mistakes
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
    )


class _Web(uvicorn.Server):
    """uvicorn without its own signal handlers: both servers must hear of the end at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _on_signals() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def heard(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard, number)
    return stop


def _listen(protocol: str, host: str, port: int) -> socket.socket:
    """A listening socket: whoever connects before the models are loaded waits, and is not turned away."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise Failed(
            f"cannot listen on {host}:{port} for {protocol}: {reason}.",
            f"Choose another: --{protocol.lower()}-port 0 finds a free one."
            if error.errno == errno.EADDRINUSE
            else "Check --host and the port.",
        ) from error


@contextmanager
def _listen_at(path: str) -> Iterator[list[socket.socket]]:
    """A listening Unix socket, removed in the end; none where the path is empty."""
    if not path:
        yield []
        return
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            if _is_left_over(path):
                Path(path).unlink()
            listener.bind(path)
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise Failed(f"cannot listen on {path}: {reason}.", "Choose another path: --http-socket") from error
        try:
            listener.listen(2048)
            yield [listener]
        finally:
            Path(path).unlink(missing_ok=True)


def _is_left_over(path: str) -> bool:
    """Whether a socket lies there on which nobody listens any more: a server was killed."""
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(path) == errno.ECONNREFUSED

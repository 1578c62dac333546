# ruff: noqa: TID253
"""Server: the life of ``bookserve serve`` – bind, load, answer, drain – in one process and one event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from bookserve.errors import BookserveError, Failed, NotFound
from serve.app import grpc_app, http_app
from serve.app.settings import Settings
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.jobs.job_store import JobStore
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from serve.observability.traces import Tracer
from serve.protocols.base import ServerContext, load_protocols
from serve.protocols.tfserving.files import models_config, warmup
from serve.security.api_keys import ApiKeys
from serve.transport.grpc.interceptor import Interceptor
from serve.transport.http.fast_path import FastRoute
from serve.transport.http.http_connection import HttpConnection
from serve.transport.http.middleware import RequestMiddleware
from serve.transport.sockets import bind_tcp, bind_unix

#: Seconds that accepted requests have to finish once the server was told to stop.
GRACE_SECONDS = 30
#: Seconds that a server goes on after it was told to stop, so that it reads what was sent before. gRPC's own end would
#: cancel calls that wait to be handed over.
DRAIN_SECONDS = 0.25
#: Seconds that an idle connection is kept: longer than common clients keep theirs, so that they end it, not we.
KEEP_ALIVE_SECONDS = 75

logger = logging.getLogger("bookserve")


class Ready(NamedTuple):
    """What to tell the user once requests are answered."""

    http: str
    grpc: str
    #: Names of the models, one for each live version.
    models: list[str]
    #: Versions that could not be loaded, in sentences.
    errors: list[str]


class Worker(NamedTuple):
    """The part of one process among several that serve the same addresses."""

    #: Its counts and its jobs are written there, beside those of the others.
    counts: Path
    #: Becomes readable when the process that started it is gone.
    lifeline: int


def run(settings: Settings, ready: Callable[[Ready], None], worker: Worker | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted. ``ready`` is called once.

    Raises:
        NotFound: no such directory or file, or no models in it.
        InvalidInput: a file of the settings is wrong.
        Failed: an address is taken, or none of the models can be loaded.
    """
    serving = _serve(settings, ready, worker)
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(settings: Settings, ready: Callable[[Ready], None], worker: Worker | None) -> None:
    host, shared, access = settings.host, worker is not None, settings.access
    metrics = Metrics(worker and worker.counts)
    tracer = Tracer(settings.otel) if settings.otel else None
    keys = ApiKeys.read(settings.api_key_file) if settings.api_key_file else None
    repository = _repository(settings, metrics, shared)
    engine = Engine(repository, metrics)
    jobs = JobQueue(engine, JobStore(worker.counts / "jobs") if worker else None)
    stop = _stop_on_signals()
    with bind_tcp("HTTP", host, settings.http_port, shared) as listener, bind_unix(access.http_socket) as local:
        port = listener.getsockname()[1]
        if settings.grpc_port and not shared and settings.grpc_server == "grpcio":
            bind_tcp("gRPC", host, settings.grpc_port).close()  # tells why an address cannot be had; gRPC does not
        if shared:  # nobody connects to this process before it can answer
            errors = await _load_models(repository, settings)
        protocols = load_protocols()
        services = grpc_app.protocol_services(protocols, ServerContext(engine, jobs, access))
        labels = {name: protocol.grpc_label for name, (_, protocol) in services.items()}
        interceptor = Interceptor(metrics, keys, settings.request_timeout, tracer, labels)
        address = grpc_app.Address(host, settings.grpc_port, settings.tls, shared)
        builtin = settings.grpc_server == "builtin"
        handlers = [service for service, _ in services.values()]
        grpc_server, grpc_port = grpc_app.grpc_server(engine, address, [interceptor], access, handlers, builtin)
        chores: list[asyncio.Task[None]] = []
        try:
            if not shared:
                errors = await _load_models(repository, settings)
            app = http_app.http_application(engine, metrics, access, jobs, protocols)
            guarded = RequestMiddleware(app, app.owner, metrics, keys, settings.request_timeout, tracer)
            fast_route = guarded.fast_route(
                http_app.combined_fast_route(protocols, ServerContext(engine, jobs, access))
            )
            web = _http_server(http_app.allow_origins(guarded, access.origins, protocols), fast_route, settings)
            serving = asyncio.create_task(web.serve([listener, *local]))
            serving.add_done_callback(lambda _: stop.set())
            await grpc_server.start()
            gc.collect()
            gc.freeze()  # what lives as long as the server need not be looked through again and again
            engine.ready = True
            shown, secure = f"[{host}]" if ":" in host else host, "s" if settings.tls else ""
            names = [model.name for model in engine.models()]
            ready(Ready(f"http{secure}://{shown}:{port}", f"grpc{secure}://{shown}:{grpc_port}", names, errors))
            if settings.poll:
                chores.append(asyncio.create_task(_poll_repository(repository, settings)))
            if worker:
                chores.append(asyncio.create_task(metrics.share()))
                asyncio.get_running_loop().add_reader(worker.lifeline, stop.set)
            await stop.wait()
            logger.info("stopping: accepted requests have %d s to finish; a second signal ends at once", GRACE_SECONDS)
            engine.ready = False
            # Jobs end first, since calls that watch one end with it.
            await asyncio.gather(jobs.close(), asyncio.sleep(DRAIN_SECONDS))
            web.should_exit = True
            await asyncio.gather(serving, grpc_server.stop(GRACE_SECONDS))
        finally:
            await jobs.close()
            for chore in chores:
                chore.cancel()
            if worker:
                asyncio.get_running_loop().remove_reader(worker.lifeline)
                metrics.share_now()
            await grpc_server.stop(None)
            repository.close()
            if tracer:
                await asyncio.to_thread(tracer.close)
    logger.info("stopped")


def _repository(settings: Settings, metrics: Metrics, shared: bool) -> Repository:
    options = LoadOptions(
        policy=settings.policy,
        batching=settings.batching,
        variant=settings.variant,
        records=warmup.read_warmup_requests,
        lazy=settings.lazy,
        most=settings.max_loaded,
        canary=settings.canary_share,
        unavailable_labels=settings.unavailable_labels,
        controlled=not shared,
    )
    served = models_config.read_models_config(settings.model_config_file) if settings.model_config_file else None
    return Repository(settings.models, metrics, served, options)


async def _load_models(repository: Repository, settings: Settings) -> list[str]:
    """Load what can be loaded; why the rest cannot, in sentences."""
    await asyncio.to_thread(repository.load)  # in a thread, so that signals are heard
    errors = repository.errors()
    if not repository.models() and not settings.poll:
        where = settings.model_config_file or settings.models
        if errors:
            raise Failed(f"none of the models in {where} can be loaded: {errors[0].message}", errors[0].hint)
        raise NotFound(f"there are no models in '{where}'.", "Write bundles there with: bookserve export")
    plain = [model.name for model in repository.models() if settings.variant not in model.bundle.manifest.variants]
    if settings.variant and plain:
        logger.warning("served in float32, since exported without %s: %s", settings.variant, ", ".join(plain))
    return [str(error) for error in errors]


async def _poll_repository(repository: Repository, settings: Settings) -> None:
    """Look again and again what there is to serve; a ``models.config`` that has become wrong changes nothing."""
    path = settings.model_config_file
    seen = path and path.stat().st_mtime_ns
    while True:
        await asyncio.sleep(settings.poll)
        try:
            changed = None
            with suppress(OSError):  # it is being replaced
                changed = path and path.stat().st_mtime_ns
            if path and changed and changed != seen:
                seen = changed
                await asyncio.to_thread(repository.reload, models_config.read_models_config(path))
                logger.info("serving the models of %s as it is now", path)
            else:
                await asyncio.to_thread(repository.refresh)
        except BookserveError as error:
            logger.error("%s", error)
        except Exception:  # the next look may succeed
            logger.exception("looking for new versions failed")


def _http_server(app: ASGIApp, fast_route: FastRoute, settings: Settings) -> uvicorn.Server:
    tls = settings.tls
    return _HttpServer(
        uvicorn.Config(
            app,
            http=HttpConnection.limited(settings.access.limits, fast_route),
            log_config=None,
            log_level="critical",  # the application logs its own mistakes
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_certfile=str(tls.certificate) if tls else None,
            ssl_keyfile=str(tls.key) if tls else None,
            ssl_ca_certs=str(tls.clients) if tls and tls.clients else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.clients else ssl.CERT_NONE,
        )
    )


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handlers: both servers must hear of the end at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop_on_signals() -> asyncio.Event:
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

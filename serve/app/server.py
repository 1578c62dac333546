# ruff: noqa: TID253
"""Runs the server in one process and one event loop: bind, load models, answer requests, drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp

from bookserve.errors import BookserveError, Failed, NotFound
from bookserve.formats.triton_config import read_config
from bookserve.runtime import DeviceConfig, resolve_device
from bookserve.runtime.devices import AUTO
from serve.app import grpc_app, http_app
from serve.app.pages import static_files
from serve.app.settings import Settings
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.jobs.job_store import JobStore
from serve.models.model_config import ModelConfig
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from serve.observability.traces import Tracer
from serve.protocols.base import ServerContext, load_protocols
from serve.protocols.tfserving.files import models_config, warmup
from serve.security.api_keys import ApiKeys
from serve.transport.grpc.interceptor import Interceptor
from serve.transport.http.middleware import RequestMiddleware
from serve.transport.http.uvicorn_contract import connection_class
from serve.transport.proxy_protocol import accept_proxies
from serve.transport.sockets import bind_tcp, bind_unix

#: Seconds within which accepted requests must finish after the server was told to stop.
GRACE_SECONDS = 30
#: Seconds for which the server continues after it was told to stop, so that it reads requests that were sent before.
#: gRPC's own shutdown would cancel calls that have not reached their handler.
DRAIN_SECONDS = 0.25
#: Seconds for which an idle connection is kept: longer than in common clients, so that the client closes it first.
KEEP_ALIVE_SECONDS = 75

logger = logging.getLogger("bookserve")


class Ready(NamedTuple):
    """What the user is shown when the server answers requests."""

    http: str
    grpc: str
    #: Model names, one for each live version.
    models: list[str]
    #: Error messages of versions that could not be loaded.
    errors: list[str]


class Worker(NamedTuple):
    """One of several worker processes that serve the same addresses."""

    #: Its number, from 0 on. A process that takes the place of another has the number of that one.
    number: int
    #: Directory in which the workers share their metrics and jobs.
    counts: Path
    #: File descriptor that becomes readable when the parent process has ended.
    lifeline: int


def run(settings: Settings, ready: Callable[[Ready], None], worker: Worker | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted. ``ready`` is called once.

    Raises:
        NotFound: no such directory or file, or it has no models.
        InvalidInput: a file that the settings name is invalid.
        Failed: an address is in use, or no model can be loaded.
    """
    main = _serve(settings, ready, worker)
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(settings: Settings, ready: Callable[[Ready], None], worker: Worker | None) -> None:
    host, shared, access = settings.host, worker is not None, settings.access
    own_http_port, own_grpc_port = _own_ports(settings, worker)
    metrics = Metrics(worker and worker.counts, settings.metrics_models)
    tracer = Tracer(settings.otel) if settings.otel else None
    keys = ApiKeys.read(settings.api_key_file) if settings.api_key_file else None
    repository = _repository(settings, metrics, shared)
    engine = Engine(repository, metrics, access.limits.answer)
    jobs = JobQueue(engine, JobStore(worker.counts / "jobs") if worker else None)
    stop = _stop_on_signals()
    with (
        bind_tcp("HTTP", host, settings.http_port, shared) as listener,
        bind_unix(access.http_socket) as unix_sockets,
        ExitStack() as own,
    ):
        port = listener.getsockname()[1]
        if settings.grpc_port and not shared and settings.grpc_server == "grpcio":
            bind_tcp(
                "gRPC", host, settings.grpc_port
            ).close()  # gives the reason if the address cannot be used; grpcio does not
        if shared:  # this worker listens only after loading, so that it gets no connections before
            errors = await _load_models(repository, settings)
        own_sockets = []
        if own_http_port:
            own_sockets.append(own.enter_context(bind_tcp("HTTP", host, own_http_port, option="--worker-ports")))
        protocols = load_protocols()
        services = grpc_app.protocol_services(protocols, ServerContext(engine, jobs, access))
        labels = {name: protocol.grpc_label for name, (_, protocol) in services.items()}
        interceptor = Interceptor(metrics, keys, settings.request_timeout, tracer, labels)
        address = grpc_app.Address(host, settings.grpc_port, settings.tls, shared, own_grpc_port)
        builtin = settings.grpc_server == "builtin"
        handlers = [service for service, _ in services.values()]
        grpc_server, grpc_port = grpc_app.grpc_server(
            engine, address, [interceptor], access, handlers, builtin, metrics.count_connection_event
        )
        background_tasks: list[asyncio.Task[None]] = []
        try:
            if not shared:
                errors = await _load_models(repository, settings)
            app = http_app.http_application(engine, metrics, access, jobs, protocols)
            middleware = RequestMiddleware(
                app,
                app.owner,
                metrics,
                keys,
                settings.request_timeout,
                tracer,
                access.proxies,
                static_files.needs_no_key,
            )
            fast_route = middleware.fast_route(
                http_app.combined_fast_route(protocols, ServerContext(engine, jobs, access))
            )
            headers = [header for protocol in protocols for header in protocol.headers]
            connection: Any = connection_class(access.limits, fast_route, headers)
            if settings.proxy_protocol:
                connection = accept_proxies(connection, access.proxies.trusts, access.limits.seconds)
            http_server = _http_server(
                http_app.allow_origins(middleware, access.origins, headers), connection, settings
            )
            http_task = asyncio.create_task(http_server.serve([listener, *unix_sockets, *own_sockets]))
            http_task.add_done_callback(lambda _: stop.set())
            await grpc_server.start()
            gc.collect()
            gc.freeze()  # objects that live as long as the server need not be scanned again
            engine.ready = True
            url_host, secure = f"[{host}]" if ":" in host else host, "s" if settings.tls else ""
            names = [model.name for model in engine.models()]
            ready(Ready(f"http{secure}://{url_host}:{port}", f"grpc{secure}://{url_host}:{grpc_port}", names, errors))
            if settings.poll:
                background_tasks.append(asyncio.create_task(_poll_repository(repository, settings)))
            if worker:
                background_tasks.append(asyncio.create_task(metrics.share()))
                asyncio.get_running_loop().add_reader(worker.lifeline, stop.set)
            await stop.wait()
            logger.info("stopping: accepted requests have %d s to finish; a second signal ends at once", GRACE_SECONDS)
            engine.ready = False
            # Jobs end first, since calls that watch a job end with it.
            await asyncio.gather(jobs.close(), asyncio.sleep(DRAIN_SECONDS))
            http_server.should_exit = True
            await asyncio.gather(http_task, grpc_server.stop(GRACE_SECONDS))
        finally:
            await jobs.close()
            for task in background_tasks:
                task.cancel()
            if worker:
                asyncio.get_running_loop().remove_reader(worker.lifeline)
                metrics.share_now()
            await grpc_server.stop(None)
            repository.close()
            if tracer:
                await asyncio.to_thread(tracer.close)
    logger.info("stopped")


def _own_ports(settings: Settings, worker: Worker | None) -> tuple[int, int]:
    """The ports for HTTP and gRPC that this process has for itself; 0 for none."""
    number = worker.number if worker else 0
    http_port, grpc_port = (base and base + number for base in (settings.worker_ports, settings.worker_grpc_ports))
    return http_port, grpc_port


def _device(settings: Settings, metrics: Metrics) -> DeviceConfig:
    """The device of models without one of their own, on this machine; the log says once which one it is and why.

    Raises:
        DeviceUnavailable: a GPU that was asked for by name cannot be used.
    """
    device, gpus, problem = resolve_device(settings.device)
    others = [resolve_device(settings.device.with_name(name)) for name in set(settings.devices.values())]
    if gpus:
        logger.info("device %s: %s", device.name, ", ".join(map(str, gpus)))
    elif problem:
        logger.info("device auto: the CPU, since %s", problem)
    if gpus or any(found for _, found, _ in others):
        metrics.follow_gpus(lambda: resolve_device(settings.device.with_name(AUTO))[1])
    return device


def _repository(settings: Settings, metrics: Metrics, shared: bool) -> Repository:
    device = _device(settings, metrics)
    options = LoadOptions(
        policy=settings.policy,
        batching=settings.batching,
        variant=settings.variant,
        warmup_requests=warmup.read_warmup_requests,
        read_config=read_config,
        device=device,
        devices=settings.devices,
        lazy=settings.lazy,
        max_loaded=settings.max_loaded,
        canary=settings.canary_share,
        unavailable_labels=settings.unavailable_labels,
        controlled=not shared,
    )
    configs = None
    if settings.model_config_file:
        configs = models_config.read_models_config(settings.model_config_file)
    elif settings.model_base_path:
        configs = [ModelConfig(settings.model_name, settings.model_base_path.absolute(), settings.policy)]
    return Repository(settings.models, metrics, configs, options)


async def _load_models(repository: Repository, settings: Settings) -> list[str]:
    """Load all models; the error messages of those that cannot be loaded."""
    await asyncio.to_thread(repository.load)  # in a thread, so that signals are handled
    errors = repository.errors()
    if not repository.models() and not settings.poll:
        where = settings.source
        if errors:
            raise Failed(f"none of the models in {where} can be loaded: {errors[0].message}", errors[0].hint)
        raise NotFound(f"there are no models in '{where}'.", "Write bundles there with: bookserve export")
    without = [model.name for model in repository.models() if settings.variant not in model.bundle.manifest.variants]
    if settings.variant and without:
        logger.warning("served in float32, since exported without %s: %s", settings.variant, ", ".join(without))
    return [str(error) for error in errors]


async def _poll_repository(repository: Repository, settings: Settings) -> None:
    """Look for changes every ``settings.poll`` seconds; an invalid ``models.config`` changes nothing."""
    path = settings.model_config_file
    last_mtime = path and path.stat().st_mtime_ns
    is_gone = False
    while True:
        await asyncio.sleep(settings.poll)
        try:
            mtime = None
            with suppress(OSError):
                mtime = path and path.stat().st_mtime_ns
            if path and not mtime and not is_gone:
                logger.warning("%s cannot be read: its models serve on", path)
            is_gone = bool(path and not mtime)
            if path and mtime and mtime != last_mtime:
                last_mtime = mtime
                await asyncio.to_thread(repository.reload, models_config.read_models_config(path))
                logger.info("%s has changed: serving its models now", path)
            else:
                await asyncio.to_thread(repository.refresh)
        except BookserveError as error:
            logger.error("%s", error)
        except Exception:  # the next look may succeed
            logger.exception("looking for new versions failed")


def _http_server(app: ASGIApp, connection: Any, settings: Settings) -> uvicorn.Server:
    tls = settings.tls
    return _HttpServer(
        uvicorn.Config(
            app,
            http=connection,
            log_config=None,
            log_level="critical",  # the application logs its own errors
            access_log=False,
            server_header=False,
            proxy_headers=False,  # serve/security/trusted_proxies.py reads them
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
    """uvicorn without its own signal handlers: the HTTP and the gRPC server must stop together."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop_on_signals() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def handle(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)
    return stop

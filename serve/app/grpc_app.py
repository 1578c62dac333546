# ruff: noqa: TID253
"""Builds the gRPC server: the services of every protocol, health and reflection, on the builtin server or on grpcio."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bookserve.errors import Failed
from serve.app.settings import Tls
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.protocols.base import Protocol, ServerContext, load_protocols
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.health import HealthService
from serve.transport.grpc.reflection import ReflectionHandler
from serve.transport.grpc.service import Service
from serve.transport.http2 import server as http2
from serve.transport.http2.config import Config
from serve.transport.sockets import bind_tcp, bind_unix


class Address(NamedTuple):
    """The address on which gRPC is served."""

    host: str
    port: int
    tls: Tls | None = None
    #: Whether several worker processes bind the port; each gets a part of the connections.
    shared: bool = False
    #: A further port, of this worker process alone; 0 for none.
    worker_port: int = 0


def protocol_services(protocols: Iterable[Protocol], context: ServerContext) -> dict[str, tuple[Service, Protocol]]:
    """The gRPC services of these protocols by full name, each with its protocol.

    Raises:
        ValueError: two protocols have a service of the same name.
    """
    services: dict[str, tuple[Service, Protocol]] = {}
    for protocol in protocols:
        for service in protocol.services(context):
            if service.name in services:
                other = services[service.name][1].name
                raise ValueError(f"the protocols '{other}' and '{protocol.name}' both have the service {service.name}.")
            services[service.name] = service, protocol
    return services


def grpc_server(
    engine: Engine,
    address: Address,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    policy: AccessPolicy | None = None,
    services: Sequence[Service] | None = None,
    builtin: bool = True,
    count: Callable[[str, str], None] = lambda event, reason: None,
) -> tuple[grpc.aio.Server | http2.Server, int]:
    """A server that is bound to its address but not started, and its port (port 0 means any free port).

    It is the ``builtin`` server or grpcio's. By default it has the services of all protocols. ``count`` is called with
    what the builtin server refuses and ends: see ``Config.count``.

    Raises:
        Failed: the address is in use, or is not an address of this machine.
    """
    policy = policy or AccessPolicy()
    if services is None:
        context = ServerContext(engine, JobQueue(engine), policy)
        services = [service for service, _ in protocol_services(load_protocols(), context).values()]
    if builtin:
        server, port = _builtin_server(address, interceptors, policy, count)
    else:
        server, port = _grpcio_server(address, interceptors, policy)
    reflection = ReflectionHandler(services, [health_pb2.DESCRIPTOR])
    server.add_generic_rpc_handlers([*(service.handler() for service in services), reflection])
    names = [service.name for service in services]
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(engine, names), server)
    return server, port


def _grpcio_server(
    address: Address, interceptors: Sequence[grpc.aio.ServerInterceptor], policy: AccessPolicy
) -> tuple[grpc.aio.Server, int]:
    limits = policy.limits
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[
            # Otherwise a second server could bind the port, and would take half of the requests.
            ("grpc.so_reuseport", int(address.shared)),
            ("grpc.max_receive_message_length", limits.body),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", limits.streams),
            *([("grpc.max_connection_age_ms", int(limits.connection_age * 1000))] if limits.connection_age else []),
            ("grpc.max_metadata_size", limits.head),
            ("grpc.absolute_max_metadata_size", limits.head),
            # Clients may ping every second, also without a call; grpcio's own limit is five minutes.
            ("grpc.http2.min_ping_interval_without_data_ms", 500),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    if policy.grpc_socket:
        _bind_grpcio(server, f"unix:{policy.grpc_socket}", "Choose another path for --grpc-socket.")
    host = f"[{address.host}]" if ":" in address.host else address.host
    hint = "Choose another port; --grpc-port 0 finds a free one."
    if address.worker_port:
        own = f"{host}:{address.worker_port}"
        _bind_grpcio(server, own, "Check --host and --worker-grpc-ports.", address.tls)
    return server, _bind_grpcio(server, f"{host}:{address.port}", hint, address.tls)


def _bind_grpcio(server: grpc.aio.Server, address: str, hint: str, tls: Tls | None = None) -> int:
    try:
        return int(server.add_secure_port(address, _credentials(tls)) if tls else server.add_insecure_port(address))
    except RuntimeError as error:
        raise Failed(f"cannot listen for gRPC on {address}.", hint) from error


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """The server's certificate and key, and the authority of client certificates if they are required."""
    clients = tls.clients.read_bytes() if tls.clients else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())], clients, require_client_auth=clients is not None
    )


def _builtin_server(
    address: Address,
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    policy: AccessPolicy,
    count: Callable[[str, str], None],
) -> tuple[http2.Server, int]:
    limits, tls = policy.limits, address.tls
    config = Config(
        max_message_size=limits.body,
        max_decompressed_size=limits.inflated,
        max_header_list_size=limits.head,
        max_concurrent_streams=limits.streams,
        timeout=limits.seconds,
        max_held_per_connection=4 * limits.body,
        max_held=max(16 * limits.body, limits.answer),
        max_connections=limits.connections,
        max_connection_age=limits.connection_age,
        count=count,
        logger=logging.getLogger("bookserve"),
    )
    server = http2.Server(config, interceptors)
    if policy.grpc_socket:
        cleanup = ExitStack()
        for sock in cleanup.enter_context(bind_unix(policy.grpc_socket)):
            server.listen(sock)
        server.add_cleanup(cleanup.close)
    listener = bind_tcp("gRPC", address.host, address.port, address.shared)
    context = http2.tls_context(tls.certificate, tls.key, tls.clients) if tls else None
    server.listen(listener, context)
    if address.worker_port:
        own = bind_tcp("gRPC", address.host, address.worker_port, option="--worker-grpc-ports")
        server.listen(own, context)
    return server, int(listener.getsockname()[1])

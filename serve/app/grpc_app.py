# ruff: noqa: TID253
"""The gRPC server: the services of every protocol, health and reflection, on the builtin server or grpcio's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from bookserve.errors import Failed
from serve.app.settings import Tls
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.protocols.base import Protocol, ServerContext, load_protocols
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.health import HealthService
from serve.transport.grpc.service import Service, descriptor_pool
from serve.transport.http2 import server as http2
from serve.transport.sockets import bind_tcp


class Address(NamedTuple):
    """Where gRPC is to be had."""

    host: str
    port: int
    tls: Tls | None = None
    #: Whether other processes bind the port, too, each of which gets some of the connections.
    shared: bool = False


def protocol_services(protocols: Iterable[Protocol], context: ServerContext) -> dict[str, tuple[Service, Protocol]]:
    """The gRPC services of these protocols by their full names, each with its protocol.

    Raises:
        ValueError: two of them have one name.
    """
    found: dict[str, tuple[Service, Protocol]] = {}
    for protocol in protocols:
        for service in protocol.services(context):
            if service.name in found:
                other = found[service.name][1].name
                raise ValueError(f"the protocols '{other}' and '{protocol.name}' both have the service {service.name}.")
            found[service.name] = service, protocol
    return found


def grpc_server(
    engine: Engine,
    address: Address,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    policy: AccessPolicy | None = None,
    services: Sequence[Service] | None = None,
    builtin: bool = True,
) -> tuple[grpc.aio.Server | http2.Server, int]:
    """A server bound to its address (port 0: a free one), not yet started, and the port it got.

    It is the ``builtin`` one, or grpcio's. By default it has the ``services`` of every protocol there is.

    Raises:
        Failed: the address is taken, or not one of this machine's.
    """
    policy = policy or AccessPolicy()
    if services is None:
        context = ServerContext(engine, JobQueue(engine), policy)
        services = [service for service, _ in protocol_services(load_protocols(), context).values()]
    made, port = (_builtin_server if builtin else _grpcio_server)(address, interceptors, policy)
    made.add_generic_rpc_handlers([service.handler() for service in services])
    names = [service.name for service in services]
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(engine, names), made)
    pool = descriptor_pool(services, [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR])
    reflected = reflection.aio.ReflectionServicer([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, made)
    return made, port


def _grpcio_server(
    address: Address, interceptors: Sequence[grpc.aio.ServerInterceptor], policy: AccessPolicy
) -> tuple[grpc.aio.Server, int]:
    limits = policy.limits
    made = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.so_reuseport", int(address.shared)),  # a taken port must be an error, not half of the requests
            ("grpc.max_receive_message_length", limits.body),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", limits.streams),
            ("grpc.max_metadata_size", limits.head),
            ("grpc.absolute_max_metadata_size", limits.head),
        ],
    )
    if policy.grpc_socket:
        _bind_grpcio(made, f"unix:{policy.grpc_socket}", "Choose another path for --grpc-socket.")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return made, _bind_grpcio(made, f"{host}:{address.port}", "Choose another: --grpc-port 0 finds one.", address.tls)


def _bind_grpcio(made: grpc.aio.Server, address: str, hint: str, tls: Tls | None = None) -> int:
    try:
        return int(made.add_secure_port(address, _credentials(tls)) if tls else made.add_insecure_port(address))
    except RuntimeError as error:
        raise Failed(f"the gRPC address {address} cannot be had.", hint) from error


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """The server's certificate, and whose clients' certificates it wants to see."""
    clients = tls.clients.read_bytes() if tls.clients else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())], clients, require_client_auth=clients is not None
    )


def _builtin_server(
    address: Address, interceptors: Sequence[grpc.aio.ServerInterceptor], policy: AccessPolicy
) -> tuple[http2.Server, int]:
    made = http2.Server(policy.limits, interceptors)
    if policy.grpc_socket:
        made.listen_at(policy.grpc_socket)
    listener = bind_tcp("gRPC", address.host, address.port, address.shared)
    made.listen(listener, http2.secured(address.tls) if address.tls else None)
    return made, int(listener.getsockname()[1])

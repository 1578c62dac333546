# ruff: noqa: TID253
"""The gRPC face of the server: every door's methods, health and reflection on one server, grpcio's or the builtin."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from bookserve.api import native_pb2 as home_pb2
from bookserve.api import pictures_pb2
from bookserve.errors import Failed
from serve.app.settings import Tls
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.protocols.native import grpc_service as home
from serve.protocols.native import pictures_grpc as pictures
from serve.protocols.oip import grpc_service as v2
from serve.protocols.tfserving import model_service as models
from serve.protocols.tfserving import prediction_service as tfs
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.health import Health
from serve.transport.grpc.service import descriptor_pool
from serve.transport.http2 import server as http2
from serve.transport.http2.config import Config
from serve.transport.sockets import bind_tcp, bind_unix

_HOME = home_pb2.DESCRIPTOR.services_by_name["Bookserve"].full_name
_PICTURES = pictures_pb2.DESCRIPTOR.services_by_name["Pictures"].full_name


class Address(NamedTuple):
    """Where gRPC is to be had."""

    host: str
    port: int
    tls: Tls | None = None
    #: Whether other processes bind the port, too, each of which gets some of the connections.
    shared: bool = False


def server(
    engine: Engine,
    address: Address,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    doors: AccessPolicy | None = None,
    jobs: JobQueue | None = None,
    builtin: bool = True,
) -> tuple[grpc.aio.Server | http2.Server, int]:
    """A server bound to its address (port 0: a free one), not yet started, and the port it got.

    It is the ``builtin`` one, or grpcio's; the methods are the same.

    Raises:
        Failed: the address is taken, or not one of this machine's.
    """
    doors = doors or AccessPolicy()
    made, port = (_builtin if builtin else _grpcio)(address, interceptors, doors)
    services = [tfs.service(engine, doors), models.service(engine, doors), v2.service(engine, doors)]
    made.add_generic_rpc_handlers([service.handler() for service in services])
    made.add_generic_rpc_handlers(home.handlers(engine) + pictures.handlers(engine, jobs or JobQueue(engine)))
    names = [_HOME, _PICTURES, *(service.name for service in services)]
    health_pb2_grpc.add_HealthServicer_to_server(Health(engine, names), made)
    pool = descriptor_pool(
        services, [home_pb2.DESCRIPTOR, pictures_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    )
    reflected = reflection.aio.ReflectionServicer([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, made)
    return made, port


def _grpcio(
    address: Address, interceptors: Sequence[grpc.aio.ServerInterceptor], doors: AccessPolicy
) -> tuple[grpc.aio.Server, int]:
    limits = doors.limits
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
    if doors.grpc_socket:
        _bind(made, f"unix:{doors.grpc_socket}", "Choose another path for --grpc-socket.")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return made, _bind(made, f"{host}:{address.port}", "Choose another: --grpc-port 0 finds one.", address.tls)


def _bind(made: grpc.aio.Server, address: str, hint: str, tls: Tls | None = None) -> int:
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


def _builtin(
    address: Address, interceptors: Sequence[grpc.aio.ServerInterceptor], doors: AccessPolicy
) -> tuple[http2.Server, int]:
    limits, tls = doors.limits, address.tls
    config = Config(
        max_message_size=limits.body,
        max_decompressed_size=limits.inflated,
        max_header_list_size=limits.head,
        max_concurrent_streams=limits.streams,
        timeout=limits.seconds,
        logger=logging.getLogger("bookserve"),
    )
    made = http2.Server(config, interceptors)
    if doors.grpc_socket:
        unix = ExitStack()
        for sock in unix.enter_context(bind_unix(doors.grpc_socket)):
            made.listen(sock)
        made.add_cleanup(unix.close)
    listener = bind_tcp("gRPC", address.host, address.port, address.shared)
    made.listen(listener, http2.tls_context(tls.certificate, tls.key, tls.clients) if tls else None)
    return made, int(listener.getsockname()[1])

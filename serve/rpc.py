# ruff: noqa: TID253
"""The gRPC face of the server: every door's methods, health and reflection on one grpc.aio server."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from bookserve.errors import Failed
from bookserve.wire import home_pb2, pictures_pb2
from serve.doors import Doors
from serve.engine import Engine
from serve.health import Health
from serve.home import rpc as home
from serve.jobs import rpc as pictures
from serve.jobs.queue import Jobs
from serve.service import described
from serve.settings import Tls
from serve.tfs import models
from serve.tfs import rpc as tfs
from serve.v2 import rpc as v2

_HOME = home_pb2.DESCRIPTOR.services_by_name["Bookserve"].full_name
_PICTURES = pictures_pb2.DESCRIPTOR.services_by_name["Pictures"].full_name


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """The server's certificate, and whose clients' certificates it wants to see."""
    clients = tls.clients.read_bytes() if tls.clients else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())], clients, require_client_auth=clients is not None
    )


def server(
    engine: Engine,
    host: str,
    port: int,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    secure: grpc.ServerCredentials | None = None,
    shared: bool = False,
    doors: Doors | None = None,
    jobs: Jobs | None = None,
) -> tuple[grpc.aio.Server, int]:
    """A server bound to ``host`` and ``port`` (0: a free one), not yet started, and the port it got.

    A port that is ``shared`` may be bound by other processes, too, each of which gets some of the connections.

    Raises:
        Failed: the address is taken, or not one of this machine's.
    """
    doors = doors or Doors()
    limits = doors.limits
    made = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.so_reuseport", int(shared)),  # a taken port must be an error, not half of the requests
            ("grpc.max_receive_message_length", limits.body),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", limits.streams),
            ("grpc.max_metadata_size", limits.head),
            ("grpc.absolute_max_metadata_size", limits.head),
        ],
    )
    services = [
        tfs.service(engine, doors),
        models.service(engine, doors),
        v2.service(engine, doors),
    ]
    made.add_generic_rpc_handlers((*(service.handler() for service in services), *home.handlers(engine)))
    made.add_generic_rpc_handlers(pictures.handlers(engine, jobs or Jobs(engine)))
    names = [_HOME, _PICTURES, *(service.name for service in services)]
    health_pb2_grpc.add_HealthServicer_to_server(Health(engine, names), made)
    pool = described(
        services, [home_pb2.DESCRIPTOR, pictures_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    )
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], made, pool)
    if doors.grpc_socket:
        _bind(made, f"unix:{doors.grpc_socket}", "Choose another path for --grpc-socket.")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return made, _bind(made, address, "Choose another: --grpc-port 0 finds one.", secure)


def _bind(made: grpc.aio.Server, address: str, hint: str, secure: grpc.ServerCredentials | None = None) -> int:
    try:
        return int(made.add_secure_port(address, secure) if secure else made.add_insecure_port(address))
    except RuntimeError as error:
        raise Failed(f"the gRPC address {address} cannot be had.", hint) from error
